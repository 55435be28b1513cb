//! Who calls: signed, carried by every wire that has headers, checked by the host.
//!
//! An [`Authority`] issues [`Passport`]s: to services, and to users. A [`Signed`] caller
//! proves with its passport that it makes a call; a host's [`Verifier`] checks the proof
//! before a handler sees the call. A service that passes a call on
//! ([`Call::on_behalf_of`](registry_api::call::Call::on_behalf_of)) adds itself to what
//! it was shown, so that the last host knows whose call it is and through whom it came.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> portolan::Result<()> {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use portolan::call::Subject;
//! use portolan::identity::{Authority, Verifier};
//!
//! let authority = Authority::generate()?;
//! let alice = Subject::user("alice").with_role("admin");
//! let passport = authority.issue(&alice, Duration::from_secs(3600))?;
//! let verifier = Arc::new(Verifier::trusting([authority.key()]).with_role("delete", "admin"));
//!
//! let proof = passport.prove("users", None)?;
//! assert_eq!(verifier.check(&proof, "users").expect("a proof").subject, alice);
//! assert!(verifier.check(&proof, "mail").is_err(), "shown to one service, good for no other");
//! # Ok(()) }
//! ```
//!
//! # What travels
//!
//! The header `portolan-identity`: pairs of a credential and a proof, all joined by `~`.
//! Both are JSON Web Tokens (RFC 7519) in the compact form with EdDSA (RFC 8037). A
//! credential is signed by the authority and names the subject, its roles, when it ends,
//! and its key (`cnf`, RFC 7800). A proof is signed with that key and names the service it
//! is for (`aud`), the time (`iat`), and the hash of all before it (`ath`): it is good
//! for one service, for five minutes, and in this place only.

mod authority;
mod chain;
mod passport;
mod refusals;
mod signed;
mod token;
mod verifier;

pub use self::authority::{Authority, AuthorityKey};
pub use self::passport::Passport;
pub use self::signed::Signed;
pub use self::verifier::Verifier;
