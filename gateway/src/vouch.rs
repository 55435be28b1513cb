//! Whose call it is that comes from outside: of whoever shows a passport, or of the
//! gateway itself.

use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use moka::sync::Cache;
use portolan::ErrorKind;
use portolan::call::{CallError, Caller, Headers, IDENTITY, SubjectKind};
use portolan::identity::{AuthorityKey, Passport, Signed, Verifier};
use portolan::{Error, Result};

/// Says in calls who makes them, as far as that was proved to the gateway.
#[derive(Default)]
pub(crate) struct Voucher(Option<Known>);

struct Known {
    own: Arc<Passport>,
    /// Checks the passports of users; none where no authority is trusted.
    verifier: Option<Verifier>,
    /// What was proved with a passport, for as long as it is fresh.
    proved: Cache<String, String>,
}

const AUTHORIZATION: &str = "authorization";
/// How long a proof is shown again, and how many are kept.
const FRESH: Duration = Duration::from_secs(60);
const MAX_PROVED: u64 = 10_000;

impl Voucher {
    /// By the passport in a file, which makes calls the gateway's.
    ///
    /// Errors: `InvalidArgument` for a file that has no passport of a service.
    pub(crate) fn open(file: Option<&Path>, authorities: &[AuthorityKey]) -> Result<Self> {
        let Some(file) = file else { return Ok(Self(None)) };
        let unreadable = |error| {
            Error::invalid("identity", "cannot be read").with("file", file.display()).because(error)
        };
        let own = Passport::parse(&std::fs::read_to_string(file).map_err(unreadable)?)?;
        if own.subject().kind != SubjectKind::Service {
            return Err(Error::invalid("identity", "must be the passport of a service"));
        }
        let verifier = (!authorities.is_empty()).then(|| Verifier::trusting(authorities.to_vec()));
        let proved = Cache::builder().max_capacity(MAX_PROVED).time_to_live(FRESH).build();
        Ok(Self(Some(Known { own: Arc::new(own), verifier, proved })))
    }

    /// A caller whose calls say that the gateway makes them, or passes them on.
    pub(crate) fn sign(&self, caller: Arc<dyn Caller>) -> Arc<dyn Caller> {
        match &self.0 {
            Some(known) => Arc::new(Signed::new(caller, Arc::clone(&known.own))),
            None => caller,
        }
    }

    /// Makes a call that came over HTTP its user's: whose passport it shows as
    /// `Authorization: Bearer`.
    ///
    /// Errors: `Unauthenticated` for a passport that counts for nothing here.
    pub(crate) fn vouch(&self, sent: &HeaderMap, headers: &mut Headers) -> CallResult {
        let shown = sent.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.add(shown.and_then(passport), headers)
    }

    /// The same for one whose headers have all come along. A passport goes no further.
    pub(crate) fn vouch_in(&self, headers: &mut Headers) -> CallResult {
        let is_shown =
            |(name, value): &(String, String)| name == AUTHORIZATION && passport(value).is_some();
        let shown = headers.iter().position(is_shown).map(|at| headers.remove(at).1);
        headers.retain(|header| !is_shown(header));
        self.add(shown.as_deref().and_then(passport), headers)
    }

    fn add(&self, passport: Option<&str>, headers: &mut Headers) -> CallResult {
        headers.retain(|(name, _)| name != IDENTITY);
        if let Some(passport) = passport {
            headers.push((IDENTITY.to_owned(), self.prove(passport)?));
        }
        Ok(())
    }

    fn prove(&self, passport: &str) -> std::result::Result<String, CallError> {
        let refused =
            |reason: &str| CallError::new(ErrorKind::Unauthenticated.into(), reason).not_run();
        let way_out = "this gateway takes no passports; it is started with --identity and --authority where it does";
        let known = self.0.as_ref().ok_or_else(|| refused(way_out))?;
        let verifier = known.verifier.as_ref().ok_or_else(|| refused(way_out))?;
        if let Some(proof) = known.proved.get(passport) {
            return Ok(proof);
        }
        let none = |error: Error| refused(error.message());
        let own = &known.own.subject().name;
        let proof = Passport::parse(passport).and_then(|user| user.prove(own, None));
        let proof = proof.map_err(none)?;
        verifier.check(&proof, own).map_err(CallError::not_run)?;
        known.proved.insert(passport.to_owned(), proof.clone());
        Ok(proof)
    }
}

type CallResult = std::result::Result<(), CallError>;

/// The passport that is shown, where one is.
pub(crate) fn passport(authorization: &str) -> Option<&str> {
    let (scheme, shown) = authorization.split_once(' ')?;
    let shown = shown.trim();
    (scheme.eq_ignore_ascii_case("bearer") && Passport::is_meant(shown)).then_some(shown)
}

impl Debug for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Voucher").field(&self.0.as_ref().map(|known| &known.own)).finish()
    }
}

#[cfg(test)]
mod tests {
    use portolan::call::Subject;
    use portolan::identity::Authority;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn headers(authorization: &str) -> HeaderMap {
        [(AUTHORIZATION.parse().unwrap(), authorization.parse().unwrap())].into_iter().collect()
    }

    fn voucher(authority: &Authority, trusted: &[AuthorityKey]) -> Voucher {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = authority.issue(&Subject::service("gate"), HOUR).unwrap();
        std::fs::write(file.path(), own.expose()).unwrap();
        Voucher::open(Some(file.path()), trusted).unwrap()
    }

    #[test]
    fn a_passport_makes_a_call_its_users_and_goes_no_further() {
        let authority = Authority::generate().unwrap();
        let voucher = voucher(&authority, &[authority.key()]);
        let alice = authority.issue(&Subject::user("alice"), HOUR).unwrap();
        let shown = format!("bearer {}", alice.expose());
        let mut told = vec![(IDENTITY.to_owned(), "forged".to_owned())];
        voucher.vouch(&headers(&shown), &mut told).unwrap();
        let [(name, proof)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(name, IDENTITY);
        let verifier = Verifier::trusting([authority.key()]);
        assert_eq!(verifier.check(proof, "gate").unwrap().subject.name, "alice");
        let mut sent = vec![(AUTHORIZATION.to_owned(), shown), ("a".to_owned(), "1".to_owned())];
        voucher.vouch_in(&mut sent).unwrap();
        let names: Vec<_> = sent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", IDENTITY]);
        assert!(!format!("{voucher:?}").contains("portolan_passport"));
    }

    #[test]
    fn what_counts_for_nothing_is_refused_and_never_passed_on() {
        let authority = Authority::generate().unwrap();
        let stranger = Authority::generate().unwrap();
        let alice = stranger.issue(&Subject::user("alice"), HOUR).unwrap();
        let over = authority.issue(&Subject::user("alice"), HOUR).unwrap();
        for (voucher, passport) in [
            (voucher(&authority, &[authority.key()]), alice.expose()),
            (voucher(&authority, &[authority.key()]), "portolan_passport_junk"),
            (voucher(&authority, &[]), over.expose()),
            (Voucher::default(), over.expose()),
        ] {
            let mut sent = vec![(AUTHORIZATION.to_owned(), format!("Bearer {passport}"))];
            let refused = voucher.vouch_in(&mut sent).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unauthenticated.into());
            assert!(sent.is_empty() && !refused.message().contains(passport));
        }
        // What is no passport is the service's own matter.
        let mut sent = vec![(AUTHORIZATION.to_owned(), "Bearer x".to_owned())];
        Voucher::default().vouch_in(&mut sent).unwrap();
        assert_eq!(sent.len(), 1);
        let user = authority.issue(&Subject::user("alice"), HOUR).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), user.expose()).unwrap();
        assert!(Voucher::open(Some(file.path()), &[]).is_err(), "a gateway is a service");
    }
}
