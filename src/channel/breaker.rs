//! A breaker per endpoint: what fails almost always is not asked for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use registry_api::Timestamp;
use registry_api::kernel::Backoff;

/// When an endpoint, a method of a service, is not called for a while, whoever
/// serves it. Instances are ejected one by one; this is for the day when all of
/// them fail.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Breaker {
    /// Failures per hundred calls at which it opens.
    pub percent: u8,
    /// Of at least so many calls.
    pub calls: u32,
    /// Within this time.
    pub window: Duration,
    /// How long it stays open at first; then one call is let through, and if
    /// that fails, up to twice as long.
    pub first: Duration,
    /// But never longer than this.
    pub longest: Duration,
}

impl Default for Breaker {
    /// 80 % of at least 20 calls within 10 s; one second, up to five.
    fn default() -> Self {
        Self {
            percent: 80,
            calls: 20,
            window: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5),
        }
    }
}

/// The breakers of a channel, by method.
#[derive(Debug)]
pub(super) struct Breakers {
    policy: Breaker,
    methods: RwLock<HashMap<String, Arc<Circuit>>>,
}

/// More methods than a service can have; beyond that, names are made up.
const METHODS: usize = 1024;

impl Breakers {
    pub(super) fn new(policy: Breaker) -> Self {
        Self { policy, methods: RwLock::default() }
    }

    /// The breaker of a method; methods beyond a bound share one.
    pub(super) fn of(&self, method: &str) -> Arc<Circuit> {
        let methods = self.methods.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(circuit) = methods.get(method) {
            return Arc::clone(circuit);
        }
        let method = if methods.len() < METHODS { method } else { "" };
        drop(methods);
        let mut methods = self.methods.write().unwrap_or_else(PoisonError::into_inner);
        let circuit = || Arc::new(Circuit::new(self.policy));
        Arc::clone(methods.entry(method.to_owned()).or_insert_with(circuit))
    }
}

/// One breaker.
#[derive(Debug)]
pub(super) struct Circuit {
    policy: Breaker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Calls and failures of the last parts of the window, the oldest first.
    parts: [(u32, u32); PARTS],
    /// The part that counts now.
    part: u64,
    /// Closed to calls before this; `None` where it lets everybody through.
    open_until: Option<Timestamp>,
    /// The one call that tries whether it may close.
    trying: bool,
    backoff: Backoff,
}

/// The window moves in parts.
const PARTS: usize = 10;

/// A call a breaker let through. Dropped without a word, it counts for nothing.
#[derive(Debug)]
pub(super) struct Admitted {
    circuit: Arc<Circuit>,
    tries: bool,
    told: bool,
}

impl Circuit {
    fn new(policy: Breaker) -> Self {
        let backoff = Backoff::new(policy.first, policy.longest, fastrand::u64(..));
        let parts = [(0, 0); PARTS];
        let state = State { parts, part: 0, open_until: None, trying: false, backoff };
        Self { policy, state: Mutex::new(state) }
    }

    /// Lets a call through, or says how long not to ask again.
    pub(super) fn admit(self: &Arc<Self>, now: Timestamp) -> Result<Admitted, Duration> {
        let mut state = self.state();
        let tries = match state.open_until {
            None => false,
            Some(until) if now < until => return Err(until.since(now)),
            Some(_) if state.trying => return Err(self.policy.first),
            Some(_) => true,
        };
        state.trying |= tries;
        drop(state);
        Ok(Admitted { circuit: Arc::clone(self), tries, told: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, failed: bool, tries: bool, now: Timestamp) {
        let mut state = self.state();
        if tries {
            state.trying = false;
            match failed {
                true => state.open(&self.policy, now),
                false => state.close(),
            }
            return;
        }
        if state.open_until.is_some() {
            return; // It was let through before it opened.
        }
        state.move_to(now, self.policy.window);
        let newest = &mut state.parts[PARTS - 1];
        newest.0 += 1;
        newest.1 += u32::from(failed);
        if failed && state.is_broken(&self.policy) {
            state.open(&self.policy, now);
        }
    }
}

impl State {
    fn move_to(&mut self, now: Timestamp, window: Duration) {
        let length = (window / PARTS as u32).as_nanos().max(1) as u64;
        let part = now.as_nanos() / length;
        let passed = usize::try_from(part.saturating_sub(self.part)).unwrap_or(PARTS).min(PARTS);
        self.parts.rotate_left(passed);
        self.parts[PARTS - passed..].fill((0, 0));
        self.part = part;
    }

    fn is_broken(&self, policy: &Breaker) -> bool {
        let sum = |(calls, failures), part: &(u32, u32)| (calls + part.0, failures + part.1);
        let (calls, failures) = self.parts.iter().fold((0_u32, 0_u32), sum);
        calls >= policy.calls
            && u64::from(failures) * 100 >= u64::from(calls) * u64::from(policy.percent)
    }

    /// Opens, for at least half of what its backoff allows: a breaker that
    /// closes at once protects nobody.
    fn open(&mut self, policy: &Breaker, now: Timestamp) {
        let rest = self.backoff.next_delay().max(policy.first / 2);
        self.open_until = Some(now + rest);
    }

    fn close(&mut self) {
        self.parts = [(0, 0); PARTS];
        self.open_until = None;
        self.backoff.reset();
    }
}

impl Admitted {
    /// The endpoint answered, or failed.
    pub(super) fn ended(mut self, failed: bool, now: Timestamp) {
        self.told = true;
        self.circuit.count(failed, self.tries, now);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.told && self.tries {
            self.circuit.state().trying = false; // Somebody else is to try.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn call(circuit: &Arc<Circuit>, failed: bool, ms: u64) -> bool {
        let admitted = circuit.admit(at(ms));
        let through = admitted.is_ok();
        if let Ok(admitted) = admitted {
            admitted.ended(failed, at(ms));
        }
        through
    }

    #[test]
    fn it_opens_at_four_fifths_and_closes_with_one_success() {
        let circuit = Breakers::new(Breaker::default()).of("m");
        for n in 0..100 {
            assert!(call(&circuit, n % 10 < 7, n), "70 % is not enough");
        }
        let through = (0..100).filter(|n| call(&circuit, true, 20_000 + n)).count();
        assert_eq!(through, 20, "the first hundred calls are forgotten");
        assert!(!call(&circuit, false, 20_400));
        // Open for half a second to a second; one tries, fails, and it stays open.
        assert!(circuit.admit(at(21_200)).is_ok());
        let trying = circuit.admit(at(21_200)).unwrap();
        assert!(circuit.admit(at(21_200)).is_err(), "one at a time");
        trying.ended(true, at(21_200));
        assert!(circuit.admit(at(21_600)).is_err());
        assert!(call(&circuit, false, 24_000));
        assert!((0..100).all(|n| call(&circuit, false, 24_000 + n)));
    }

    #[test]
    fn made_up_methods_share_one() {
        let breakers = Breakers::new(Breaker::default());
        (0..5000).for_each(|n| drop(breakers.of(&n.to_string())));
        assert!(breakers.methods.read().unwrap().len() <= METHODS + 1);
    }
}
