//! What a reader asks for, and the one snapshot it gets.

use std::sync::Arc;

use crate::address::Transport;
use crate::identity::{InstanceId, ServiceName};
use crate::instance::{Health, Instance, Offer, Phase};
use crate::metadata::Metadata;
use crate::revision::Revision;
use crate::service::ServiceRecord;

/// Which part of the registry a query or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Everything in the namespace.
    All,
    /// Every declaration and no instance.
    Declarations,
    /// One instance, by id.
    Instance(InstanceId),
    /// The named services: their declarations and whoever offers one of them.
    Services(Vec<ServiceName>),
}

impl Scope {
    /// The scope of one service.
    pub fn service(name: ServiceName) -> Self {
        Self::Services(vec![name])
    }

    /// Whether the declaration of `service` belongs to it.
    pub fn has_service(&self, service: &ServiceName) -> bool {
        match self {
            Self::All | Self::Declarations => true,
            Self::Instance(_) => false,
            Self::Services(names) => names.contains(service),
        }
    }

    /// Whether an offer for `service` belongs to it.
    pub fn has_offer(&self, service: &ServiceName) -> bool {
        match self {
            Self::All | Self::Instance(_) => true,
            Self::Declarations => false,
            Self::Services(names) => names.contains(service),
        }
    }

    /// Whether the instance `id` with these offers belongs to it.
    pub fn has_instance(&self, id: &InstanceId, offers: &[Offer]) -> bool {
        match self {
            Self::All => true,
            Self::Declarations => false,
            Self::Instance(wanted) => wanted == id,
            Self::Services(names) => offers.iter().any(|o| names.contains(&o.service)),
        }
    }
}

/// A condition on instances. An instance matches if its phase and health do and
/// one of its offers within the scope matches everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// One of these phases; empty means any.
    pub phases: Vec<Phase>,
    /// This health.
    pub health: Option<Health>,
    /// An address of this transport.
    pub transport: Option<Transport>,
    /// Exactly this zone.
    pub zone: Option<String>,
    /// Exactly this version.
    pub version: Option<String>,
    /// All of these pairs.
    pub metadata: Metadata,
}

impl Filter {
    /// Online and ready: what may be picked.
    pub fn routable() -> Self {
        Self { phases: vec![Phase::Ready], health: Some(Health::Online), ..Self::default() }
    }

    /// Sets the phase.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.phases.push(phase);
        self
    }

    /// Sets the transport.
    #[must_use]
    pub fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the zone.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whether `instance` matches, seen through `scope`.
    pub fn matches(&self, instance: &Instance, scope: &Scope) -> bool {
        (self.phases.is_empty() || self.phases.contains(&instance.phase))
            && self.health.is_none_or(|health| health == instance.health)
            && self.matches_offers(instance, scope)
    }

    /// Whether what `instance` offers matches, seen through `scope`, whatever
    /// its phase and health.
    pub fn matches_offers(&self, instance: &Instance, scope: &Scope) -> bool {
        let fits = |offer: &Offer| scope.has_offer(&offer.service) && self.matches_offer(offer);
        self.asks_nothing_of_offers() || instance.offers.iter().any(fits)
    }

    fn asks_nothing_of_offers(&self) -> bool {
        self.transport.is_none()
            && self.zone.is_none()
            && self.version.is_none()
            && self.metadata == Metadata::default()
    }

    fn matches_offer(&self, offer: &Offer) -> bool {
        let has_transport = |t: Transport| offer.addresses.iter().any(|a| a.transport() == t);
        self.transport.is_none_or(has_transport)
            && self.zone.as_deref().is_none_or(|zone| zone == &*offer.zone)
            && self.version.as_deref().is_none_or(|v| v == &*offer.version)
            && self.metadata.iter().all(|(k, v)| offer.metadata.get(k) == Some(v))
    }
}

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The part of the registry.
    pub scope: Scope,
    /// The condition on instances; declarations are never filtered.
    pub filter: Filter,
}

impl Query {
    /// Everything.
    pub fn all() -> Self {
        Self::of(Scope::All)
    }

    /// One service.
    pub fn service(name: ServiceName) -> Self {
        Self::of(Scope::service(name))
    }

    /// One instance.
    pub fn instance(id: InstanceId) -> Self {
        Self::of(Scope::Instance(id))
    }

    /// A scope without a condition.
    pub fn of(scope: Scope) -> Self {
        Self { scope, filter: Filter::default() }
    }

    /// Sets the condition.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }
}

/// One snapshot of one revision: never a mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The revision it shows.
    pub revision: Revision,
    /// Declarations, by name.
    pub services: Vec<Arc<ServiceRecord>>,
    /// Instances, by id.
    pub instances: Vec<Instance>,
}

impl View {
    /// The declaration of `service`.
    pub fn service(&self, service: &ServiceName) -> Option<&Arc<ServiceRecord>> {
        self.services.iter().find(|r| r.spec.name == *service)
    }

    /// The instance with this id.
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        let place = self.instances.binary_search_by(|i| i.id.cmp(id)).ok()?;
        Some(&self.instances[place])
    }
}
