//! Connections of one peer that carry one call at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use registry_api::Address;
use registry_api::call::{CallError, Reply};

use super::Question;
use super::dial::Dial;
use super::ping_pong::PingPong;

/// The connections that are not in use, latest used last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: PingPong,
    /// How many times it was looked at since it was used.
    age: u32,
}

impl Pool {
    pub(super) async fn call(
        &self,
        dial: &dyn Dial,
        address: &Address,
        question: &Question<'_>,
    ) -> Result<Reply, CallError> {
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => PingPong::new(dial.dial(address).await?, question.limit),
        };
        let answer = connection.exchange(question).await;
        if !connection.is_engaged() {
            self.lock().push(Idle { connection, age: 0 });
        }
        answer
    }

    fn take(&self) -> Option<PingPong> {
        loop {
            let mut connection = self.lock().pop()?.connection;
            if connection.is_sound() {
                return Some(connection);
            }
        }
    }

    /// Closes what was idle for `ages` looks; false once none is left.
    pub(super) fn look(&self, ages: u32) -> bool {
        let mut idle = self.lock();
        idle.iter_mut().for_each(|idle| idle.age += 1);
        idle.retain(|idle| idle.age < ages);
        !idle.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
