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

    /// Lets anybody call a method, known or not. Its name is as it is called, with the
    /// interface where gRPC's service has another name: `pkg.Service/Method`.
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
    pub fn check(&self, proof: &str, audience: &str) -> Result<Arc<Identity>, CallError> {
        let checked = self.checked(proof, audience, token::now());
        checked.map(|checked| Arc::clone(&checked.identity)).map_err(Refusal::error)
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
    fn judge(&self, call: &Call, now: u64) -> Result<Option<Arc<Identity>>, Refusal> {
        let is_open = self.open.contains(&call.method);
        let Some(proof) = call.header(IDENTITY) else {
            return if is_open { Ok(None) } else { Err(Refusal::Missing) };
        };
        let identity = match self.checked(proof, call.service.as_str(), now) {
            Ok(checked) => Arc::clone(&checked.identity),
            // Anybody is welcome, and is nobody.
            Err(_) if is_open => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let may = |roles: &Vec<String>| roles.iter().any(|role| identity.has_role(role));
        match is_open || self.roles_of(&call.method).is_none_or(may) {
            true => Ok(Some(identity)),
            false => Err(Refusal::Role),
        }
    }

    /// Those of the method as it is called, else those of its bare name: of gRPC it comes
    /// with its interface, `pkg.Service/Method`, where the service has another name.
    fn roles_of(&self, method: &str) -> Option<&Vec<String>> {
        let bare = method.rsplit_once('/').map(|(_, bare)| bare);
        self.roles.get(method).or_else(|| self.roles.get(bare?))
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
                call.identity = identity;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use registry_api::call::{CallErrorKind, Subject};
    use registry_api::{Endpoint, ErrorKind, ServiceName};

    use super::super::Authority;
    use super::*;

    fn service() -> ServiceName {
        ServiceName::parse("users").unwrap()
    }

    /// What becomes of a call of a method, by whoever made this proof.
    fn admitted(
        verifier: &Verifier,
        method: &str,
        proof: Option<&str>,
    ) -> Result<Option<String>, CallErrorKind> {
        let mut call = Call::new(service(), method, Bytes::new());
        call.headers.extend(proof.map(|proof| (IDENTITY.to_owned(), proof.to_owned())));
        verifier.admit(&mut call).map_err(|error| error.kind())?;
        Ok(call.identity.map(|identity| identity.subject.to_string()))
    }

    #[test]
    fn a_role_holds_however_the_method_is_called() {
        let authority = Authority::generate().unwrap();
        let endpoint = Endpoint {
            name: "drop".to_owned(),
            sla: None,
            roles: vec!["admin".to_owned(), "root".to_owned()],
            idempotent: false,
        };
        let verifier = Verifier::trusting([authority.key()])
            .with_roles_of(&ServiceSpec::new(service()).with_endpoints(vec![endpoint]))
            .with_no_auth("hello");
        let hour = Duration::from_secs(3600);
        let proof = |subject: &Subject| {
            authority.issue(subject, hour).unwrap().prove("users", None).unwrap()
        };
        let alice = proof(&Subject::user("alice").with_role("reader"));
        let root = proof(&Subject::user("root").with_role("root"));
        let denied = Err(ErrorKind::PermissionDenied.into());
        for method in ["drop", "pkg.Users/drop"] {
            assert_eq!(admitted(&verifier, method, Some(&alice)), denied, "{method}");
            assert_eq!(admitted(&verifier, method, Some(&root)), Ok(Some("user:root".into())));
        }
        assert_eq!(admitted(&verifier, "read", Some(&alice)), Ok(Some("user:alice".into())));
        let nobody = Err(ErrorKind::Unauthenticated.into());
        assert_eq!(admitted(&verifier, "read", None), nobody);
        assert_eq!(admitted(&verifier, "hello", None), Ok(None));
        assert_eq!(admitted(&verifier, "hello", Some("junk")), Ok(None));
        assert_eq!(admitted(&verifier, "other.Service/hello", None), nobody, "another's method");
        let counts: Vec<_> = verifier.call_counts().into_iter().map(|one| one.count).collect();
        assert_eq!(counts, [1, 2, 1, 1]);
    }

    #[test]
    fn what_is_known_is_bounded_and_ends() {
        let authority = Authority::generate().unwrap();
        let verifier = Verifier::trusting([authority.key()]);
        let passport = authority.issue(&Subject::user("a"), Duration::from_secs(9)).unwrap();
        let now = token::now();
        let proof = passport.prove_at(now, "users", None).unwrap();
        assert!(verifier.checked(&proof, "users", now).is_ok());
        assert!(verifier.checked(&proof, "users", now + 9).is_ok(), "remembered");
        assert_eq!(verifier.checked(&proof, "users", now + 11).unwrap_err(), Refusal::Expired);
        for n in 0..MAX_ASKED + 10 {
            let mut call = Call::new(service(), n.to_string(), Bytes::new());
            call.headers.push((IDENTITY.to_owned(), proof.clone()));
            verifier.admit(&mut call).unwrap();
        }
        assert_eq!(verifier.call_counts().len(), MAX_ASKED);
    }
}
