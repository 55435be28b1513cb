//! Requests that come again: H2's callers repeat one under the same message id when
//! its answer is late, and must not have it run twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::message::Answer;

/// What a host remembers of the requests it took: that they came, all that run and the
/// last some ten thousand; and their answers up to a size.
#[derive(Debug, Default)]
pub(crate) struct Once {
    known: HashMap<Arc<str>, State>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
    /// Those whose answers are kept, oldest first.
    kept: VecDeque<Arc<str>>,
    bytes: usize,
}

#[derive(Debug)]
enum State {
    Running,
    Answered(Answer, Vec<u8>),
    /// Answered, and the answer is not kept any more.
    Forgotten,
}

/// Whether a request came before.
#[derive(Debug)]
pub(crate) enum Seen {
    Never,
    Running,
    Answered(Answer, Vec<u8>),
    /// Its answer is not known any more.
    Forgotten,
}

/// How long after a request the same may come again and is known, also by a host that
/// runs ten thousand a second.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(5);

const MOST: usize = 65_536;
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
            Some(State::Forgotten) => Seen::Forgotten,
            None => {
                let id: Arc<str> = id.into();
                self.known.insert(Arc::clone(&id), State::Running);
                self.order.push_back(id);
                self.trim();
                Seen::Never
            }
        }
    }

    /// A request was answered so.
    pub(crate) fn ended(&mut self, id: &str, answer: Answer, body: Vec<u8>) {
        let Some((id, _)) = self.known.get_key_value(id) else { return };
        let id = Arc::clone(id);
        self.bytes += body.len();
        self.kept.push_back(Arc::clone(&id));
        self.known.insert(id, State::Answered(answer, body));
        self.trim();
    }

    /// A request was given up: it has no answer, and is not run again.
    pub(crate) fn given_up(&mut self, id: &str) {
        if let Some(state @ State::Running) = self.known.get_mut(id) {
            *state = State::Forgotten;
        }
    }

    fn trim(&mut self) {
        while self.bytes > MOST_BYTES {
            let Some(oldest) = self.kept.pop_front() else { return };
            if let Some(state) = self.known.get_mut(&oldest) {
                self.bytes -= std::mem::replace(state, State::Forgotten).size();
            }
        }
        // What runs is never forgotten, and is no more than calls in flight.
        for _ in 0..self.order.len().saturating_sub(MOST) {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.known.get(&oldest) {
                Some(State::Running) => self.order.push_back(oldest),
                Some(state) => {
                    self.bytes -= state.size();
                    self.known.remove(&oldest);
                }
                None => {}
            }
        }
        while self.kept.front().is_some_and(|id| !self.known.contains_key(id)) {
            self.kept.pop_front();
        }
    }
}

impl State {
    fn size(&self) -> usize {
        match self {
            Self::Answered(_, body) => body.len(),
            Self::Running | Self::Forgotten => 0,
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
    fn what_runs_is_never_forgotten() {
        let mut once = Once::default();
        once.begin("slow");
        for n in 0..3 * MOST {
            let id = n.to_string();
            once.begin(&id);
            once.ended(&id, answer(&id), Vec::new());
        }
        assert!(matches!(once.begin("slow"), Seen::Running));
        assert!(matches!(once.begin("0"), Seen::Never), "the oldest is another one again");
        assert!(once.known.len() <= MOST + 1 && once.kept.len() <= MOST + 1);
        assert_eq!(once.order.len(), once.known.len());
    }

    #[test]
    fn what_was_given_up_is_not_run_again_and_not_kept_for_ever() {
        let mut once = Once::default();
        for n in 0..2 * MOST {
            let id = n.to_string();
            once.begin(&id);
            once.given_up(&id);
            assert!(matches!(once.begin(&id), Seen::Forgotten));
        }
        assert!(once.known.len() <= MOST && once.order.len() <= MOST);
    }

    #[test]
    fn what_it_keeps_is_bounded_and_what_it_does_not_is_not_run_again() {
        let mut once = Once::default();
        for n in 0..40 {
            let id = n.to_string();
            once.begin(&id);
            once.ended(&id, answer(&id), vec![0; 1 << 20]);
            assert!(once.bytes <= MOST_BYTES);
        }
        assert!(matches!(once.begin("0"), Seen::Forgotten));
        assert!(matches!(once.begin("39"), Seen::Answered(..)));
    }
}
