//! Who calls: proved by the caller, checked by the host, the same on every wire.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portolan::identity::{Authority, Passport, Signed, Verifier};
use registry_api::call::{Call, CallError, Caller, Handler, Host, IDENTITY, Peer, Reply, Subject};
use registry_api::{ErrorKind, Offer, ServiceName};

use super::call_cases;
use super::cx::{CallCtx, MAX_INFLIGHT, check_kind};
use crate::failure::{Failure, check, check_eq};

call_cases! { "identity":
    "S6" a_handler_knows_whose_call_it_is_over_two_hops [Headers]
    "S6" who_proves_nothing_is_refused [Headers]
    "S6" what_is_made_for_one_service_is_refused_by_another [Headers]
    "S6" a_role_is_asked_for_and_an_open_method_asks_for_nothing [Headers]
}

const HOUR: Duration = Duration::from_secs(3600);

/// Answers `who` with who calls.
#[derive(Debug)]
struct Who;

#[async_trait]
impl Handler for Who {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let who = call.identity.map(|who| format!("{} via {}", who.subject, who.via.join(",")));
        Ok(Reply::new(who.unwrap_or_default().into()))
    }
}

/// Passes every call on to another.
struct Relay {
    caller: Arc<dyn Caller>,
    to: Offer,
}

#[async_trait]
impl Handler for Relay {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let next = Call::new(self.to.service.clone(), "who", Bytes::new()).on_behalf_of(&call);
        let peer = Peer::at(&self.to.addresses[0]).with_metadata(&self.to.metadata);
        self.caller.call(peer, next).await
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("to", &self.to).finish_non_exhaustive()
    }
}

/// An estate with one authority.
struct Estate<'a> {
    cx: &'a CallCtx,
    authority: Authority,
}

impl<'a> Estate<'a> {
    fn new(cx: &'a CallCtx) -> Result<Self, Failure> {
        Ok(Self { cx, authority: Authority::generate()? })
    }

    fn verifier(&self) -> Verifier {
        Verifier::trusting([self.authority.key()])
    }

    fn passport(&self, subject: &Subject) -> Result<Arc<Passport>, Failure> {
        Ok(Arc::new(self.authority.issue(subject, HOUR)?))
    }

    fn caller(&self, subject: &Subject) -> Result<Arc<dyn Caller>, Failure> {
        Ok(Arc::new(Signed::new(self.cx.world().caller(), self.passport(subject)?)))
    }

    /// A service that is served behind a guard.
    async fn serve(
        &self,
        service: &str,
        verifier: Verifier,
        handler: impl Handler,
    ) -> Result<(Box<dyn Host>, Offer), Failure> {
        let handler = Arc::new(verifier).protect(Arc::new(handler));
        let host = self.cx.world().serve(ServiceName::parse(service)?, handler, MAX_INFLIGHT);
        let host = host.await?;
        check(host.is_guarded(), "a host does not say that its handler is guarded")?;
        let offer = host.offers().into_iter().next();
        let offer = offer.ok_or_else(|| Failure::new("the host offers nothing"))?;
        Ok((host, offer))
    }
}

async fn call(caller: &dyn Caller, to: &Offer, call: Call) -> Result<Reply, CallError> {
    caller.call(Peer::at(&to.addresses[0]).with_metadata(&to.metadata), call).await
}

fn asks(to: &Offer, method: &str) -> Call {
    Call::new(to.service.clone(), method, Bytes::new())
}

async fn a_handler_knows_whose_call_it_is_over_two_hops(cx: &CallCtx) -> Result<(), Failure> {
    check(!cx.host().is_guarded(), "a host says that it is guarded, and is not")?;
    let estate = Estate::new(cx)?;
    let (_last, last) = estate.serve("Last", estate.verifier(), Who).await?;
    let relay = Relay { caller: estate.caller(&Subject::service("Middle"))?, to: last.clone() };
    let (_middle, middle) = estate.serve("Middle", estate.verifier(), relay).await?;
    let relay = Relay { caller: estate.caller(&Subject::service("First"))?, to: middle };
    let (_first, first) = estate.serve("First", estate.verifier(), relay).await?;
    let alice = estate.caller(&Subject::user("alice"))?;
    let said = call(&*alice, &first, asks(&first, "go")).await?;
    check_eq(&said.payload, &Bytes::from("user:alice via First,Middle"), "who called")?;
    let said = call(&*alice, &last, asks(&last, "who")).await?;
    check_eq(&said.payload, &Bytes::from("user:alice via "), "who called by itself")
}

async fn who_proves_nothing_is_refused(cx: &CallCtx) -> Result<(), Failure> {
    let estate = Estate::new(cx)?;
    let (_host, offer) = estate.serve("Users", estate.verifier(), Who).await?;
    let bare = cx.world().caller();
    let refused = |outcome: &_, what| check_kind(outcome, ErrorKind::Unauthenticated.into(), what);
    refused(&call(&*bare, &offer, asks(&offer, "who")).await, "a call without a proof")?;
    for junk in ["", "junk", "a.b.c~d.e.f"] {
        let asked = asks(&offer, "who").with_header(IDENTITY, junk);
        refused(&call(&*bare, &offer, asked).await, "a proof that is none")?;
    }
    let stranger = Arc::new(Authority::generate()?.issue(&Subject::user("alice"), HOUR)?);
    let stranger = Signed::new(cx.world().caller(), stranger);
    refused(&call(&stranger, &offer, asks(&offer, "who")).await, "another authority's proof")?;
    let over = Arc::new(estate.authority.issue(&Subject::user("alice"), Duration::ZERO)?);
    // Dates count whole seconds.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let over = Signed::new(cx.world().caller(), over);
    refused(&call(&over, &offer, asks(&offer, "who")).await, "a passport that is over")?;
    let alice = estate.caller(&Subject::user("alice"))?;
    call(&*alice, &offer, asks(&offer, "who")).await.map(drop).map_err(Failure::from)
}

async fn what_is_made_for_one_service_is_refused_by_another(cx: &CallCtx) -> Result<(), Failure> {
    let estate = Estate::new(cx)?;
    let (_users, users) = estate.serve("Users", estate.verifier(), Who).await?;
    let (_mail, mail) = estate.serve("Mail", estate.verifier(), Who).await?;
    let proof = estate.passport(&Subject::user("alice"))?.prove("Users", None)?;
    let bare = cx.world().caller();
    let shown = |to: &Offer| asks(to, "who").with_header(IDENTITY, proof.clone());
    call(&*bare, &users, shown(&users)).await?;
    let again = call(&*bare, &mail, shown(&mail)).await;
    check_kind(&again, ErrorKind::Unauthenticated.into(), "what was made for another")?;
    // Nor can another than the one it was shown to pass it on.
    let thief = estate.caller(&Subject::service("Thief"))?;
    let passed = call(&*thief, &mail, shown(&mail)).await;
    check_kind(&passed, ErrorKind::Unauthenticated.into(), "what was shown to another")
}

async fn a_role_is_asked_for_and_an_open_method_asks_for_nothing(
    cx: &CallCtx,
) -> Result<(), Failure> {
    let estate = Estate::new(cx)?;
    let verifier = estate.verifier().with_role("delete", "admin").with_no_auth("hello");
    let (_host, offer) = estate.serve("Users", verifier, Who).await?;
    let alice = estate.caller(&Subject::user("alice").with_role("reader"))?;
    let admin = estate.caller(&Subject::user("root").with_role("admin"))?;
    let refused = call(&*alice, &offer, asks(&offer, "delete")).await;
    check_kind(&refused, ErrorKind::PermissionDenied.into(), "a caller without the role")?;
    call(&*alice, &offer, asks(&offer, "read")).await?;
    call(&*admin, &offer, asks(&offer, "delete")).await?;
    let bare = cx.world().caller();
    let said = call(&*bare, &offer, asks(&offer, "hello")).await?;
    check_eq(&said.payload, &Bytes::new(), "who nobody is")?;
    let said = call(&*alice, &offer, asks(&offer, "hello")).await?;
    check_eq(&said.payload, &Bytes::from("user:alice via "), "who says so all the same")
}
