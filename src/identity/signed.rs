//! The calling side: every call says who makes it.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use registry_api::call::{Call, CallError, Caller, IDENTITY, Peer, Reply};
use registry_api::{Address, ErrorKind};

use super::passport::Passport;
use super::token;

/// Calls over another caller, and proves in each call whose it is. A call that is made
/// [on behalf of](Call::on_behalf_of) another is passed on.
///
/// It signs once a minute for each service that is called, and for each identity that is
/// passed on.
pub struct Signed {
    caller: Arc<dyn Caller>,
    passport: Arc<Passport>,
    proofs: Mutex<HashMap<Purpose, Proved>>,
}

/// For which service, after what.
type Purpose = (String, Option<String>);

struct Proved {
    text: String,
    at: u64,
}

/// How old a proof may be that is shown once more, in seconds; it is good for longer, so
/// that whoever is called can pass it on.
const AGE: u64 = 60;
/// The most proofs that are kept; all are forgotten beyond it.
const MAX_PROOFS: usize = 10_000;

impl Signed {
    /// Makes the calls of `caller` those of the passport's subject.
    pub fn new(caller: Arc<dyn Caller>, passport: Arc<Passport>) -> Self {
        Self { caller, passport, proofs: Mutex::default() }
    }

    fn prove(&self, call: &Call) -> Result<String, CallError> {
        let before = call.header(IDENTITY).map(str::to_owned);
        let purpose = (call.service.as_str().to_owned(), before);
        let now = token::now();
        let is_good = |proved: &&Proved| now.abs_diff(proved.at) <= AGE;
        if let Some(proved) = self.lock().get(&purpose).filter(is_good) {
            return Ok(proved.text.clone());
        }
        let text = self.passport.prove_at(now, &purpose.0, purpose.1.as_deref());
        let text = text.map_err(|error| {
            CallError::new(ErrorKind::Unauthenticated.into(), error.message()).not_run()
        })?;
        let mut proofs = self.lock();
        if proofs.len() >= MAX_PROOFS {
            proofs.clear();
        }
        proofs.insert(purpose, Proved { text: text.clone(), at: now });
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Purpose, Proved>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Caller for Signed {
    fn speaks(&self, address: &Address) -> bool {
        self.caller.speaks(address)
    }

    async fn call(&self, peer: Peer<'_>, mut call: Call) -> Result<Reply, CallError> {
        let proof = self.prove(&call)?;
        call.headers.retain(|(name, _)| name != IDENTITY);
        call.headers.push((IDENTITY.to_owned(), proof));
        let mut reply = self.caller.call(peer, call).await?;
        // One that gives its headers back gives nobody our proof.
        reply.headers.retain(|(name, _)| name != IDENTITY);
        Ok(reply)
    }
}

impl Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("caller", &self.caller)
            .field("passport", &self.passport)
            .finish_non_exhaustive()
    }
}
