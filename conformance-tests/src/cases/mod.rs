//! The list. One file per verb; a case longer than a screen is two cases.

mod address;
#[cfg(feature = "client")]
mod cold;
#[cfg(feature = "client")]
mod handle;
#[cfg(feature = "client")]
mod hold;
#[cfg(feature = "client")]
mod holder;
#[cfg(feature = "client")]
mod keys;
mod lease;
mod machine;
mod presence;
#[cfg(feature = "client")]
mod probes;
mod register;
mod resolve;
#[cfg(feature = "client")]
mod stop;
mod tenancy;
mod watch;
mod watch_faults;

use std::sync::Arc;

use registry_api::Registry;

use crate::case::Case;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::target::KeyRing;

/// Every case, in the order of the specification's chapters.
pub fn all() -> Vec<Case> {
    let groups: &[&[Case]] = &[
        register::CASES,
        presence::CASES,
        #[cfg(feature = "client")]
        keys::CASES,
        lease::CASES,
        watch::CASES,
        watch_faults::CASES,
        machine::CASES,
        resolve::CASES,
        #[cfg(feature = "client")]
        holder::CASES,
        #[cfg(feature = "client")]
        cold::CASES,
        #[cfg(feature = "client")]
        hold::CASES,
        #[cfg(feature = "client")]
        stop::CASES,
        tenancy::CASES,
        address::CASES,
    ];
    groups.concat()
}

/// That a call which is not claimed is refused, and that nothing else happens.
pub(crate) async fn refusal(cx: &Ctx) -> Result<(), Failure> {
    // `resume` is the one capability that gates a call.
    watch_faults::resume_is_refused(cx).await
}

/// API keys as the facade handles them, where the facade is compiled in.
#[cfg(feature = "client")]
pub fn default_key_ring(registry: Arc<dyn Registry>) -> Option<Box<dyn KeyRing>> {
    Some(Box::new(keys::FacadeKeys::new(registry)))
}

/// Without the facade there are none.
#[cfg(not(feature = "client"))]
pub fn default_key_ring(_registry: Arc<dyn Registry>) -> Option<Box<dyn KeyRing>> {
    None
}
