//! Who began a call and through whom it came, link by link.

use std::sync::Arc;

use registry_api::call::{Identity, Subject};

use super::authority::AuthorityKey;
use super::refusals::Refusal;
use super::token::{self, Credential, Proof};

/// Between the tokens of a chain.
pub(super) const JOIN: char = '~';
/// How far the dates of two machines may be apart, and how long a call may be under way:
/// as Kerberos has it (RFC 4120, 1.6).
pub(super) const FRESH: u64 = 300;
/// The most services that a call goes through.
const MAX_LINKS: usize = 8;
/// The longest chain, in bytes: wires carry 16 KiB of headers.
const MAX_CHAIN: usize = 8 * 1024;

/// A chain that is true, and until when it is.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) identity: Arc<Identity>,
    pub(super) audience: String,
    pub(super) until: u64,
}

/// Checks every link: signed by an authority and by its holder, in date, and made for
/// the one that stands next. The last is for the service it names.
pub(super) fn check(
    chain: &str,
    authorities: &[AuthorityKey],
    now: u64,
) -> Result<Checked, Refusal> {
    if chain.len() > MAX_CHAIN || chain.split(JOIN).count() > 2 * MAX_LINKS {
        return Err(Refusal::Malformed);
    }
    let mut begun: Option<Subject> = None;
    let mut via = Vec::new();
    let (mut audience, mut until) = (None, u64::MAX);
    let mut rest = Some(chain);
    while let Some(links) = rest {
        let mut tokens = links.splitn(3, JOIN);
        let (Some(credential), Some(proof)) = (tokens.next(), tokens.next()) else {
            return Err(Refusal::Malformed);
        };
        rest = tokens.next();
        let before = &chain[..chain.len() - links.len() + credential.len()];
        let holder = believed(credential, authorities, now)?;
        let subject = subject(&holder).ok_or(Refusal::Malformed)?;
        let made = proven(&holder, proof, before, now)?;
        until = until.min(holder.exp).min(made.iat.saturating_add(FRESH));
        match (&begun, audience.replace(made.aud)) {
            (None, _) => begun = Some(subject),
            // A service was shown it, and that service passes it on.
            (Some(_), Some(shown)) if subject.is_service(&shown) => via.push(subject.name),
            (Some(_), _) => return Err(Refusal::Elsewhere),
        }
    }
    let (Some(subject), Some(audience)) = (begun, audience) else { return Err(Refusal::Malformed) };
    let identity = Arc::new(Identity::new(subject, via));
    Ok(Checked { identity, audience, until })
}

/// What an authority says of a holder.
fn believed(
    credential: &str,
    authorities: &[AuthorityKey],
    now: u64,
) -> Result<Credential, Refusal> {
    let claims = token::read::<Credential>(credential).ok_or(Refusal::Malformed)?;
    match authorities.iter().any(|authority| token::is_signed(credential, &authority.0)) {
        false => Err(Refusal::Forged),
        true if now > claims.exp => Err(Refusal::Expired),
        true => Ok(claims),
    }
}

/// What a holder says of this call.
fn proven(holder: &Credential, proof: &str, before: &str, now: u64) -> Result<Proof, Refusal> {
    let key = holder.cnf.jwk.public().ok_or(Refusal::Malformed)?;
    let said = token::read::<Proof>(proof).ok_or(Refusal::Malformed)?;
    if !token::is_signed(proof, &key) || said.ath != token::hash(before) {
        return Err(Refusal::Forged);
    }
    match now.abs_diff(said.iat) > FRESH {
        true => Err(Refusal::Expired),
        false => Ok(said),
    }
}

/// Whom a credential names; none where its kind is unknown here.
pub(super) fn subject(claims: &Credential) -> Option<Subject> {
    let subject = match claims.sub.split_once(':')? {
        ("service", name) => Subject::service(name),
        ("user", name) => Subject::user(name),
        _ => return None,
    };
    Some(claims.roles.iter().fold(subject, Subject::with_role))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use registry_api::call::SubjectKind;

    use super::super::{Authority, Passport};
    use super::*;

    const NOW: u64 = 2_000_000_000;
    const LONG: Duration = Duration::from_secs(100 * 365 * 86_400);

    fn passport(authority: &Authority, subject: &Subject) -> Passport {
        authority.issue(subject, LONG).unwrap()
    }

    /// Of a call by alice to `users`, which calls `mail`, which calls `log`.
    fn chains(authority: &Authority) -> [String; 3] {
        let alice = passport(authority, &Subject::user("alice").with_role("admin"));
        let users = passport(authority, &Subject::service("users").with_role("internal"));
        let mail = passport(authority, &Subject::service("mail"));
        let one = alice.prove_at(NOW, "users", None).unwrap();
        let two = users.prove_at(NOW + 1, "mail", Some(&one)).unwrap();
        let three = mail.prove_at(NOW + 2, "log", Some(&two)).unwrap();
        [one, two, three]
    }

    fn judged(chain: &str, authority: &Authority, now: u64) -> Result<Checked, Refusal> {
        check(chain, &[authority.key()], now)
    }

    #[test]
    fn the_last_host_knows_who_began_and_through_whom_it_came() {
        let authority = Authority::generate().unwrap();
        let [one, two, three] = chains(&authority);
        let checked = judged(&three, &authority, NOW + 3).unwrap();
        assert_eq!(checked.identity.subject, Subject::user("alice").with_role("admin"));
        assert_eq!(checked.identity.subject.kind, SubjectKind::User);
        assert_eq!(checked.identity.via, ["users", "mail"]);
        assert_eq!((checked.audience.as_str(), checked.until), ("log", NOW + FRESH));
        assert!(!checked.identity.has_role("internal"), "only its own roles count");
        assert_eq!(judged(&one, &authority, NOW).unwrap().identity.caller(), "alice");
        assert_eq!(judged(&two, &authority, NOW).unwrap().identity.caller(), "users");
    }

    #[test]
    fn what_was_not_shown_cannot_be_passed_on() {
        let authority = Authority::generate().unwrap();
        let [one, two, three] = chains(&authority);
        let thief = passport(&authority, &Subject::service("thief"));
        let user = passport(&authority, &Subject::user("users"));
        for foreign in [&thief, &user] {
            let chain = foreign.prove_at(NOW, "mail", Some(&one)).unwrap();
            assert_eq!(judged(&chain, &authority, NOW).unwrap_err(), Refusal::Elsewhere);
        }
        // A link taken out, or put elsewhere, is another chain than the one that was signed.
        let links: Vec<_> = three.split(JOIN).collect();
        let without = [&links[..2], &links[4..]].concat().join("~");
        let alone = links[2..4].join("~");
        for forged in [without, alone] {
            assert_eq!(judged(&forged, &authority, NOW).unwrap_err(), Refusal::Forged);
        }
        assert!(judged(&two, &authority, NOW).is_ok());
    }

    #[test]
    fn nobody_else_signs_and_everything_ends() {
        let authority = Authority::generate().unwrap();
        let [one, two, _] = chains(&authority);
        let other = Authority::generate().unwrap();
        assert_eq!(judged(&one, &other, NOW).unwrap_err(), Refusal::Forged);
        assert!(check(&one, &[other.key(), authority.key()], NOW).is_ok());
        for (chain, now) in [(&one, NOW + FRESH + 1), (&one, NOW - FRESH - 1), (&two, NOW + 301)] {
            assert_eq!(judged(chain, &authority, now).unwrap_err(), Refusal::Expired);
        }
        let short = authority.issue(&Subject::user("alice"), Duration::ZERO).unwrap();
        let now = token::now() + 2;
        let chain = short.prove_at(now, "users", None).unwrap();
        assert_eq!(judged(&chain, &authority, now).unwrap_err(), Refusal::Expired);
    }

    #[test]
    fn any_change_is_seen() {
        let authority = Authority::generate().unwrap();
        let [_, chain, _] = chains(&authority);
        for at in 0..chain.len() {
            let mut changed = chain.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last letter of a token has bits that mean nothing, and must be none.
            assert!(judged(&changed, &authority, NOW).is_err(), "byte {at}");
        }
        let many = [&*chain; 5].join("~");
        let huge = "~".repeat(MAX_CHAIN + 1);
        for junk in ["", "~", "a~b", "a.b.c~d.e.f", &chain[..chain.len() / 2], &many, &huge] {
            assert!(judged(junk, &authority, NOW).is_err(), "{junk:.20}");
        }
    }

    #[test]
    fn secrets_are_read_again_and_never_printed() {
        let authority = Authority::generate().unwrap();
        let again = Authority::parse(authority.expose()).unwrap();
        assert_eq!(again.key(), authority.key());
        assert_eq!(AuthorityKey::parse(&again.key().to_string()).unwrap(), authority.key());
        let alice = passport(&authority, &Subject::user("alice"));
        let same = Passport::parse(alice.expose()).unwrap();
        assert_eq!(same.subject(), alice.subject());
        let chain = same.prove_at(NOW, "users", None).unwrap();
        assert!(judged(&chain, &authority, NOW).is_ok());
        for (secret, shown) in
            [(authority.expose(), format!("{authority:?}")), (alice.expose(), format!("{alice:?}"))]
        {
            assert!(!shown.contains(&secret[20..]), "{shown}");
        }
        // Somebody's credential with another's key.
        let bob = passport(&authority, &Subject::user("bob"));
        let (_, seed) = bob.expose().rsplit_once(JOIN).unwrap();
        let (credential, _) = alice.expose().rsplit_once(JOIN).unwrap();
        assert!(Passport::parse(&format!("{credential}~{seed}")).is_err());
        assert!(Authority::parse("junk").is_err() && AuthorityKey::parse("ed25519:AA").is_err());
    }
}
