//! Requests that come again: H2's callers repeat one under the same message id when
//! its answer is late, and must not have it run twice.

use std::collections::{HashMap, VecDeque};

use crate::message::Answer;

/// What a host remembers of the requests it took: the last some thousand, and
/// their answers up to a size.
#[derive(Debug, Default)]
pub(crate) struct Once {
    known: HashMap<String, State>,
    /// Oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
enum State {
    Running,
    Answered(Answer, Vec<u8>),
}

/// Whether a request came before.
#[derive(Debug)]
pub(crate) enum Seen {
    Never,
    Running,
    Answered(Answer, Vec<u8>),
}

const MOST: usize = 8_192;
const MOST_BYTES: usize = 16 << 20;

impl Once {
    /// A request of this id came. One without an id is another one every time.
    pub(crate) fn begin(&mut self, id: &str) -> Seen {
        if id.is_empty() {
            return Seen::Never;
        }
        match self.known.get(id) {
            Some(State::Running) => Seen::Running,
            Some(State::Answered(answer, body)) => Seen::Answered(answer.clone(), body.clone()),
            None => {
                self.known.insert(id.to_owned(), State::Running);
                self.order.push_back(id.to_owned());
                self.trim();
                Seen::Never
            }
        }
    }

    /// A request was answered so.
    pub(crate) fn ended(&mut self, id: &str, answer: Answer, body: Vec<u8>) {
        let Some(state) = self.known.get_mut(id) else { return };
        self.bytes += body.len();
        *state = State::Answered(answer, body);
        self.trim();
    }

    fn trim(&mut self) {
        while self.order.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(State::Answered(_, body)) = self.known.remove(&oldest) {
                self.bytes -= body.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(to: &str) -> Answer {
        Answer { to: to.to_owned(), is_error: false, content: None, headers: vec![] }
    }

    #[test]
    fn a_request_is_run_once_and_answered_as_often_as_it_comes() {
        let mut once = Once::default();
        assert!(matches!(once.begin("a"), Seen::Never));
        assert!(matches!(once.begin("a"), Seen::Running));
        once.ended("a", answer("a"), b"x".to_vec());
        assert!(matches!(once.begin("a"), Seen::Answered(_, body) if body == b"x"));
        assert!(matches!(once.begin(""), Seen::Never) && matches!(once.begin(""), Seen::Never));
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut once = Once::default();
        for n in 0..3 * MOST {
            once.begin(&n.to_string());
        }
        assert_eq!((once.known.len(), once.order.len()), (MOST, MOST));
        for n in 2 * MOST..3 * MOST {
            let id = n.to_string();
            once.ended(&id, answer(&id), vec![0; 1 << 20]);
            assert!(once.bytes <= MOST_BYTES);
        }
        assert!(matches!(once.begin(&(3 * MOST - 1).to_string()), Seen::Answered(..)));
    }
}
