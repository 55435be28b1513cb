//! What readers ask for and what they are told.

use registry_api as api;
use registry_api::{Error, Result};

use super::{Form, all_from_wire, all_to_wire, cause, health, needed, phase};
use crate::v1;

impl Form for api::Scope {
    type Wire = v1::Scope;

    fn to_wire(&self) -> v1::Scope {
        use v1::scope::Scope;
        let scope = match self {
            Self::Declarations => Scope::Declarations(v1::Everything {}),
            Self::Instance(id) => Scope::Instance(id.as_str().to_owned()),
            Self::Services(names) => Scope::Services(v1::Names { names: all_to_wire(names) }),
            // All, and what a later version knows: asking for more is safe.
            _ => Scope::All(v1::Everything {}),
        };
        v1::Scope { scope: Some(scope) }
    }

    fn from_wire(wire: v1::Scope) -> Result<Self> {
        use v1::scope::Scope;
        match wire.scope {
            Some(Scope::All(_)) => Ok(Self::All),
            Some(Scope::Declarations(_)) => Ok(Self::Declarations),
            Some(Scope::Instance(id)) => Ok(Self::Instance(api::InstanceId::parse(&id)?)),
            Some(Scope::Services(names)) => Ok(Self::Services(all_from_wire(names.names)?)),
            None => Err(Error::invalid("scope", "is of an extent that is not known")),
        }
    }
}

impl Form for api::Query {
    type Wire = v1::ResolveRequest;

    fn to_wire(&self) -> v1::ResolveRequest {
        let filter = &self.filter;
        let filter = v1::Filter {
            phases: filter.phases.iter().map(|phase| phase::number(*phase)).collect(),
            health: filter.health.map_or(0, health::number),
            transport: filter.transport.map(|transport| transport.as_str().to_owned()),
            zone: filter.zone.clone(),
            version: filter.version.clone(),
            metadata: filter.metadata.clone().into(),
        };
        v1::ResolveRequest { scope: Some(self.scope.to_wire()), filter: Some(filter) }
    }

    fn from_wire(wire: v1::ResolveRequest) -> Result<Self> {
        let told = wire.filter.unwrap_or_default();
        let mut filter = api::Filter::default();
        filter.phases = told.phases.into_iter().map(phase::read).collect::<Result<_>>()?;
        let any = v1::Health::Unspecified as i32;
        filter.health = (told.health != any).then(|| health::read(told.health)).transpose()?;
        filter.transport = told.transport.as_deref().map(api::Transport::parse).transpose()?;
        filter.zone = told.zone;
        filter.version = told.version;
        filter.metadata = api::Metadata::new(told.metadata)?;
        Ok(Self::of(needed("scope", wire.scope)?).with_filter(filter))
    }
}

impl Form for api::View {
    type Wire = v1::View;

    fn to_wire(&self) -> v1::View {
        v1::View {
            revision: Some(self.revision.to_wire()),
            services: all_to_wire(&self.services),
            instances: all_to_wire(&self.instances),
        }
    }

    fn from_wire(wire: v1::View) -> Result<Self> {
        Ok(Self {
            revision: needed("revision", wire.revision)?,
            services: all_from_wire(wire.services)?,
            instances: all_from_wire(wire.instances)?,
        })
    }
}

fn life(id: &api::InstanceId, epoch: api::Epoch) -> Option<v1::InstanceRef> {
    Some(v1::InstanceRef { id: id.as_str().to_owned(), epoch: epoch.0 })
}

impl Form for api::Event {
    type Wire = v1::Event;

    fn to_wire(&self) -> v1::Event {
        use v1::event::Event;
        let event = match self {
            Self::Health { id, epoch, health } => Some(Event::Health(v1::Judgement {
                instance: life(id, *epoch),
                health: health::number(*health),
            })),
            Self::Remove { id, epoch, cause } => Some(Event::Remove(v1::Removal {
                instance: life(id, *epoch),
                cause: cause::number(*cause),
            })),
            Self::Service(record) => Some(Event::Service(record.to_wire())),
            Self::ServiceRemoved { name } => Some(Event::ServiceRemoved(name.to_wire())),
            Self::Upsert(instance) => Some(Event::Upsert(instance.to_wire())),
            // What a later version tells has no number here yet.
            _ => None,
        };
        v1::Event { event }
    }

    fn from_wire(wire: v1::Event) -> Result<Self> {
        use v1::event::Event;
        match wire.event {
            Some(Event::Upsert(instance)) => Ok(Self::Upsert(Form::from_wire(instance)?)),
            Some(Event::Remove(removal)) => {
                let api::InstanceRef { id, epoch } = needed("instance", removal.instance)?;
                Ok(Self::Remove { id, epoch, cause: cause::read(removal.cause)? })
            }
            Some(Event::Health(judgement)) => {
                let api::InstanceRef { id, epoch } = needed("instance", judgement.instance)?;
                Ok(Self::Health { id, epoch, health: health::read(judgement.health)? })
            }
            Some(Event::Service(record)) => Ok(Self::Service(Form::from_wire(record)?)),
            Some(Event::ServiceRemoved(name)) => {
                Ok(Self::ServiceRemoved { name: Form::from_wire(name)? })
            }
            None => Err(Error::invalid("event", "is of a kind that is not known")),
        }
    }
}

impl Form for api::WatchItem {
    type Wire = v1::WatchItem;

    fn to_wire(&self) -> v1::WatchItem {
        use v1::watch_item::Item;
        let item = match self {
            Self::Reset(view) => Item::Reset(view.to_wire()),
            Self::Changes { revision, events } => {
                let (revision, events) = (Some(revision.to_wire()), all_to_wire(events));
                Item::Changes(v1::Changes { revision, events })
            }
            Self::Progress(revision) => Item::Progress(revision.to_wire()),
        };
        v1::WatchItem { item: Some(item) }
    }

    fn from_wire(wire: v1::WatchItem) -> Result<Self> {
        use v1::watch_item::Item;
        match wire.item {
            Some(Item::Reset(view)) => Ok(Self::Reset(Form::from_wire(view)?)),
            Some(Item::Changes(changes)) => Ok(Self::Changes {
                revision: needed("revision", changes.revision)?,
                events: all_from_wire(changes.events)?,
            }),
            Some(Item::Progress(revision)) => Ok(Self::Progress(Form::from_wire(revision)?)),
            None => Err(Error::invalid("watch", "has an item of a kind that is not known")),
        }
    }
}
