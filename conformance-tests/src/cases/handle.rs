//! The facade's handle in a case: behind faults, with a network of its own.

use std::sync::Arc;

use portolan::{Client, ClientOptions, Membership, ServiceView};
use registry_api::{InstanceSpec, LeaseTerms, Registry, Result};

use super::probes::Silent;
use crate::ctx::Ctx;
use crate::failure::{Failure, check};
use crate::faults::{Faults, Faulty};
use crate::fixtures::{instance, service};

/// A client, what can go wrong for it, and where nobody listens.
pub(super) struct Handle {
    pub(super) client: Client,
    pub(super) faults: Faults,
    pub(super) silent: Silent,
}

impl Handle {
    /// A client on a handle of its own.
    pub(super) async fn open(cx: &Ctx) -> Result<Self> {
        let faults = Faults::new(cx.clock());
        Self::behind(cx, &faults).await
    }

    /// A client on a handle of its own, behind faults that others share.
    pub(super) async fn behind(cx: &Ctx, faults: &Faults) -> Result<Self> {
        let silent = Silent::default();
        let faulty: Arc<dyn Registry> = Arc::new(Faulty::new(cx.another().await?, faults.clone()));
        let client = Client::new(faulty, options(cx, &silent));
        Ok(Self { client, faults: faults.clone(), silent })
    }

    /// Joins with an instance of a service, and waits until it is.
    pub(super) async fn join(
        &self,
        id: &str,
        of: &str,
        terms: LeaseTerms,
    ) -> Result<Membership, Failure> {
        self.join_with(anew(id, of, terms)).await
    }

    pub(super) async fn join_with(&self, spec: InstanceSpec) -> Result<Membership, Failure> {
        let membership = self.client.join(spec);
        let lease = membership.connected().await;
        check(lease.is_some(), "another holder has this id")?;
        Ok(membership)
    }

    /// Follows a service, and waits until it is known.
    pub(super) async fn follow(&self, name: &str) -> Result<ServiceView, Failure> {
        let view = self.client.follow(&service(name));
        view.ready().await?;
        Ok(view)
    }
}

/// How the clients of a case behave.
pub(super) fn options(cx: &Ctx, silent: &Silent) -> ClientOptions {
    ClientOptions::default().with_clock(cx.clock()).with_probe(Arc::new(silent.clone()))
}

/// An instance whose epoch is the registry's choice.
pub(super) fn anew(id: &str, of: &str, terms: LeaseTerms) -> InstanceSpec {
    let mut spec = instance(id, of, terms);
    spec.epoch = None;
    spec
}

/// The ids that are held.
pub(super) fn held(view: &ServiceView) -> Vec<String> {
    view.current().held.iter().map(ToString::to_string).collect()
}

/// The ids that are picked within many picks.
pub(super) fn picked(view: &ServiceView) -> Vec<String> {
    let picks = (0..200).filter_map(|_| view.pick().map(|picked| picked.id.to_string()));
    let mut ids: Vec<_> = picks.collect();
    ids.sort();
    ids.dedup();
    ids
}
