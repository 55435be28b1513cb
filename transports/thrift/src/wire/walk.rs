//! Finds the end of a message that has no length and arrives in pieces.
//!
//! Remembers where it is, so every byte is looked at once however the message
//! is cut. Nothing is kept but a position and the open containers.

use super::binary::{DEPTH, WireError, kind};

/// A walk over one struct.
#[derive(Debug)]
pub(crate) struct Walk {
    place: usize,
    open: Vec<Task>,
}

/// What is to be passed over, innermost last.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// So many bytes.
    Bytes(usize),
    /// So many elements of a type.
    List(u8, usize),
    /// So many keys and values in turn; the next one first.
    Map(u8, u8, usize),
    /// Fields until a stop.
    Struct,
    /// One value of a type.
    Value(u8),
}

impl Walk {
    /// A walk over the struct that begins at `place`.
    pub(crate) fn over_struct(place: usize) -> Self {
        Self { place, open: vec![Task::Struct] }
    }

    /// Goes on as far as `bytes`, the same and longer each time, reach. Returns
    /// where the struct ends once that is known.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, WireError> {
        while let Some(task) = self.open.last().copied() {
            let rest = bytes.get(self.place..).unwrap_or_default();
            if !self.step(task, rest)? {
                return Ok(None);
            }
            if self.open.len() > DEPTH {
                return Err(WireError::Depth);
            }
        }
        Ok(Some(self.place))
    }

    /// One step; false if there are too few bytes for it.
    fn step(&mut self, task: Task, rest: &[u8]) -> Result<bool, WireError> {
        match task {
            Task::Bytes(count) => {
                let taken = count.min(rest.len());
                self.place += taken;
                self.become_or_end(Task::Bytes(count - taken), count > taken);
                Ok(count == taken)
            }
            Task::List(element, left) => {
                self.become_or_end(Task::List(element, left.saturating_sub(1)), left > 0);
                self.open.extend((left > 0).then_some(Task::Value(element)));
                Ok(true)
            }
            Task::Map(next, after, left) => {
                self.become_or_end(Task::Map(after, next, left.saturating_sub(1)), left > 0);
                self.open.extend((left > 0).then_some(Task::Value(next)));
                Ok(true)
            }
            Task::Struct => match rest {
                [kind::STOP, ..] => Ok(self.take(1, None)),
                [field, _, _, ..] => {
                    self.place += 3;
                    self.open.push(Task::Value(*field));
                    Ok(true)
                }
                _ => Ok(false),
            },
            Task::Value(value) => self.begin(value, rest),
        }
    }

    /// Reads the head of a value and replaces it by what is behind the head.
    fn begin(&mut self, value: u8, rest: &[u8]) -> Result<bool, WireError> {
        let count = |bytes: [u8; 4]| {
            let count = i32::from_be_bytes(bytes);
            usize::try_from(count).map_err(|_| WireError::Count(count))
        };
        match (value, rest) {
            (kind::BOOL | kind::I8, _) => Ok(self.take(0, Some(Task::Bytes(1)))),
            (kind::I16, _) => Ok(self.take(0, Some(Task::Bytes(2)))),
            (kind::I32, _) => Ok(self.take(0, Some(Task::Bytes(4)))),
            (kind::I64 | kind::DOUBLE, _) => Ok(self.take(0, Some(Task::Bytes(8)))),
            (kind::UUID, _) => Ok(self.take(0, Some(Task::Bytes(16)))),
            (kind::STRUCT, _) => Ok(self.take(0, Some(Task::Struct))),
            (kind::STRING, [a, b, c, d, ..]) => {
                Ok(self.take(4, Some(Task::Bytes(count([*a, *b, *c, *d])?))))
            }
            (kind::LIST | kind::SET, [element, a, b, c, d, ..]) => {
                Ok(self.take(5, Some(Task::List(*element, count([*a, *b, *c, *d])?))))
            }
            (kind::MAP, [key, element, a, b, c, d, ..]) => {
                let pairs = count([*a, *b, *c, *d])?;
                Ok(self.take(6, Some(Task::Map(*key, *element, pairs.saturating_mul(2)))))
            }
            (kind::STRING | kind::LIST | kind::SET | kind::MAP, _) => Ok(false),
            (other, _) => Err(WireError::Kind(other)),
        }
    }

    /// Passes over `count` bytes and puts `next` in the place of the task.
    fn take(&mut self, count: usize, next: Option<Task>) -> bool {
        self.place += count;
        self.open.pop();
        self.open.extend(next);
        true
    }

    fn become_or_end(&mut self, task: Task, goes_on: bool) {
        self.open.pop();
        self.open.extend(goes_on.then_some(task));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Reader;

    /// A struct with a bit of everything, and bytes behind it.
    fn sample() -> (Vec<u8>, usize) {
        let mut bytes = vec![kind::BOOL, 0, 1, 1, kind::STRING, 0, 2, 0, 0, 0, 3, b'a', b'b', b'c'];
        bytes.extend([kind::LIST, 0, 3, kind::I16, 0, 0, 0, 2, 0, 1, 0, 2]);
        bytes.extend([kind::MAP, 0, 4, kind::I8, kind::STRUCT, 0, 0, 0, 1, 7, kind::STOP]);
        bytes.extend([kind::MAP, 0, 5, 0, 0, 0, 0, 0, 0, kind::DOUBLE, 0, 6]);
        bytes.extend([0; 8]);
        bytes.push(kind::STOP);
        let end = bytes.len();
        bytes.extend([9, 9, 9]);
        (bytes, end)
    }

    #[test]
    fn the_end_is_found_whatever_the_pieces() {
        let (bytes, end) = sample();
        for piece in [1, 2, 3, 7, bytes.len()] {
            let mut walk = Walk::over_struct(0);
            let mut found = None;
            let mut arrived = 0;
            while found.is_none() {
                arrived = (arrived + piece).min(bytes.len());
                found = walk.advance(&bytes[..arrived]).unwrap();
                assert_eq!(found.is_some(), arrived >= end, "{arrived} of {end}");
            }
            assert_eq!(found, Some(end));
        }
    }

    #[test]
    fn nesting_and_counts_are_bounded() {
        let mut deep = vec![kind::LIST, 0, 1];
        for _ in 0..DEPTH + 1 {
            deep.extend([kind::LIST, 0, 0, 0, 1]);
        }
        assert_eq!(Walk::over_struct(0).advance(&deep), Err(WireError::Depth));
        let negative = [kind::STRING, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Walk::over_struct(0).advance(&negative), Err(WireError::Count(-1)));
        let endless = [kind::MAP, 0, 1, kind::STOP, kind::STOP, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(Walk::over_struct(0).advance(&endless), Err(WireError::Kind(kind::STOP)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_reader(bytes in prop::collection::vec(0_u8..18, 0..64)) {
            let mut reader = Reader::new(&bytes);
            let read = reader.skip(kind::STRUCT, DEPTH).map(|()| bytes.len() - reader.remaining());
            if let Ok(end) = read {
                prop_assert_eq!(Walk::over_struct(0).advance(&bytes), Ok(Some(end)));
            }
        }
    }
}
