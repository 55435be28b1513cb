//! The serving side: who may call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use registry_api::ServiceSpec;
use registry_api::call::{Call, CallError, Guard, Guarded, Handler, IDENTITY, Identity};

use super::authority::AuthorityKey;
use super::chain::{self, Checked};
use super::refusals::{Refusal, Refusals};
use super::token;
use crate::service::CallCount;

/// Lets in whoever proves to be known to an authority, and has the role a method asks
/// for. The same for every wire: a handler behind it ([`protect`](Self::protect)) finds
/// in [`Call::identity`] who calls.
///
/// A call without an identity is refused, unless its method is said to be open
/// ([`with_no_auth`](Self::with_no_auth)).
pub struct Verifier {
    authorities: Vec<AuthorityKey>,
    /// By method: who has one of these roles may call it.
    roles: HashMap<String, Vec<String>>,
    open: HashSet<String>,
    /// Chains that were found true, and until when they are.
    known: Mutex<HashMap<String, Arc<Checked>>>,
    refusals: Refusals,
    asked: Mutex<BTreeMap<(String, String, String), u64>>,
}

/// The most chains that are remembered; all are forgotten beyond it.
const MAX_KNOWN: usize = 10_000;
/// The most callers that are counted apart.
const MAX_ASKED: usize = 1_000;

impl Verifier {
    /// Believes passports of these authorities. Several are for the time in which one
    /// takes the place of another.
    pub fn trusting(authorities: impl IntoIterator<Item = AuthorityKey>) -> Self {
        Self {
            authorities: authorities.into_iter().collect(),
            roles: HashMap::new(),
            open: HashSet::new(),
            known: Mutex::default(),
            refusals: Refusals::default(),
            asked: Mutex::default(),
        }
    }

    /// Lets a method be called by who has this role; said twice, by who has either.
    #[must_use]
    pub fn with_role(mut self, method: impl Into<String>, role: impl Into<String>) -> Self {
        self.roles.entry(method.into()).or_default().push(role.into());
        self
    }

    /// Asks for the roles that the endpoints of a declaration name.
    #[must_use]
    pub fn with_roles_of(self, spec: &ServiceSpec) -> Self {
        let roles = |endpoint: &registry_api::Endpoint| {
            let name = endpoint.name.clone();
            endpoint.roles.clone().into_iter().map(move |role| (name.clone(), role))
        };
        let all: Vec<_> = spec.endpoints.iter().flat_map(roles).collect();
        all.into_iter().fold(self, |verifier, (method, role)| verifier.with_role(method, role))
    }

    /// Lets anybody call a method, known or not.
    #[must_use]
    pub fn with_no_auth(mut self, method: impl Into<String>) -> Self {
        self.open.insert(method.into());
        self
    }

    /// A handler that sees the calls of those who may call, and no others.
    pub fn protect(self: &Arc<Self>, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        let guard: Arc<Self> = Arc::clone(self);
        Arc::new(Guarded::new(guard, handler))
    }

    /// Who proves to call the service `audience`.
    ///
    /// Errors: `Unauthenticated` for what proves nothing.
    pub fn check(&self, proof: &str, audience: &str) -> Result<Identity, CallError> {
        let checked = self.checked(proof, audience, token::now());
        checked.map(|checked| checked.identity.clone()).map_err(Refusal::error)
    }

    /// The refusals so far, as Prometheus' text format has them.
    pub fn metrics(&self) -> String {
        self.refusals.metrics()
    }

    /// Who was let in so far, by service, method and caller.
    pub fn call_counts(&self) -> Vec<CallCount> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let each = asked.iter().map(|((service, method, caller), count)| {
            CallCount::new(service.clone(), method.clone(), caller.clone(), *count)
        });
        each.collect()
    }

    fn checked(&self, proof: &str, audience: &str, now: u64) -> Result<Arc<Checked>, Refusal> {
        let known = self.lock().get(proof).filter(|known| now <= known.until).cloned();
        let checked = match known {
            Some(known) => known,
            None => self.remember(proof, chain::check(proof, &self.authorities, now)?),
        };
        match checked.audience == audience {
            true => Ok(checked),
            false => Err(Refusal::Elsewhere),
        }
    }

    fn remember(&self, proof: &str, checked: Checked) -> Arc<Checked> {
        let checked = Arc::new(checked);
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(proof.to_owned(), Arc::clone(&checked));
        checked
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Checked>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who makes a call, where somebody has to.
    fn judge(&self, call: &Call, now: u64) -> Result<Option<Identity>, Refusal> {
        let is_open = self.open.contains(&call.method);
        let Some(proof) = call.header(IDENTITY) else {
            return if is_open { Ok(None) } else { Err(Refusal::Missing) };
        };
        let identity = match self.checked(proof, call.service.as_str(), now) {
            Ok(checked) => checked.identity.clone(),
            // Anybody is welcome, and is nobody.
            Err(_) if is_open => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let may = |roles: &Vec<String>| roles.iter().any(|role| identity.has_role(role));
        match is_open || self.roles.get(&call.method).is_none_or(may) {
            true => Ok(Some(identity)),
            false => Err(Refusal::Role),
        }
    }

    fn count(&self, call: &Call) {
        let caller = call.identity.as_ref().map(|identity| match identity.via.last() {
            Some(service) => format!("service:{service}"),
            None => identity.subject.to_string(),
        });
        let (service, method) = (call.service.to_string(), call.method.clone());
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let room = asked.len() < MAX_ASKED;
        let entry = (service, method, caller.unwrap_or_default());
        match asked.get_mut(&entry) {
            Some(count) => *count += 1,
            None if room => drop(asked.insert(entry, 1)),
            None => {}
        }
    }
}

impl Guard for Verifier {
    fn admit(&self, call: &mut Call) -> Result<(), CallError> {
        let now = token::now();
        match self.judge(call, now) {
            Ok(identity) => {
                call.identity = identity.map(Arc::new);
                self.count(call);
                Ok(())
            }
            Err(refusal) => {
                self.refusals.count(refusal, call.service.as_str(), &call.method, now);
                Err(refusal.error())
            }
        }
    }
}

impl Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.authorities.iter().map(ToString::to_string).collect();
        f.debug_struct("Verifier").field("authorities", &keys).finish_non_exhaustive()
    }
}
