//! What readers ask for and what they are told.

use registry_api as api;
use registry_api::{Error, Result};

use super::{Form, all_from_wire, all_to_wire, cause, health, pairs, phase};
use crate::registry::record as wire;

impl Form for api::Scope {
    type Wire = wire::Scope;

    fn to_wire(&self) -> wire::Scope {
        let (extent, instance, services) = match self {
            Self::Declarations => (1, String::new(), Vec::new()),
            Self::Instance(id) => (2, id.as_str().to_owned(), Vec::new()),
            Self::Services(names) => (3, String::new(), all_to_wire(names)),
            // All, and what a later version knows: asking for more is safe.
            _ => (0, String::new(), Vec::new()),
        };
        wire::Scope { extent, instance, services }
    }

    fn from_wire(wire: wire::Scope) -> Result<Self> {
        match wire.extent {
            0 => Ok(Self::All),
            1 => Ok(Self::Declarations),
            2 => Ok(Self::Instance(api::InstanceId::parse(&wire.instance)?)),
            3 => Ok(Self::Services(all_from_wire(wire.services)?)),
            _ => Err(Error::invalid("scope", "is of an extent that is not known")),
        }
    }
}

impl Form for api::Query {
    type Wire = wire::Query;

    fn to_wire(&self) -> wire::Query {
        let filter = &self.filter;
        wire::Query {
            scope: self.scope.to_wire(),
            filter: wire::Filter {
                phases: filter.phases.iter().map(|phase| phase::number(*phase)).collect(),
                health: filter.health.map(health::number),
                transport: filter.transport.map(|transport| transport.as_str().to_owned()),
                zone: filter.zone.clone(),
                version: filter.version.clone(),
                metadata: pairs(&filter.metadata),
            },
        }
    }

    fn from_wire(wire: wire::Query) -> Result<Self> {
        let mut filter = api::Filter::default();
        let phases = wire.filter.phases.into_iter().map(phase::read);
        filter.phases = phases.collect::<Result<_>>()?;
        filter.health = wire.filter.health.map(health::read).transpose()?;
        let transport = wire.filter.transport.as_deref();
        filter.transport = transport.map(api::Transport::parse).transpose()?;
        filter.zone = wire.filter.zone;
        filter.version = wire.filter.version;
        filter.metadata = api::Metadata::new(wire.filter.metadata)?;
        Ok(Self::of(Form::from_wire(wire.scope)?).with_filter(filter))
    }
}

impl Form for api::View {
    type Wire = wire::View;

    fn to_wire(&self) -> wire::View {
        wire::View {
            revision: self.revision.to_wire(),
            services: all_to_wire(&self.services),
            instances: all_to_wire(&self.instances),
        }
    }

    fn from_wire(wire: wire::View) -> Result<Self> {
        Ok(Self {
            revision: Form::from_wire(wire.revision)?,
            services: all_from_wire(wire.services)?,
            instances: all_from_wire(wire.instances)?,
        })
    }
}

impl Form for api::Event {
    type Wire = wire::Event;

    fn to_wire(&self) -> wire::Event {
        let mut wire = wire::Event::default();
        match self {
            Self::Health { id, epoch, health } => {
                wire.health = Some(wire::Judgement {
                    id: id.as_str().to_owned(),
                    epoch: epoch.0,
                    health: health::number(*health),
                });
            }
            Self::Remove { id, epoch, cause } => {
                wire.remove = Some(wire::Removal {
                    id: id.as_str().to_owned(),
                    epoch: epoch.0,
                    cause: cause::number(*cause),
                });
            }
            Self::Service(record) => wire.service = Some(record.to_wire()),
            Self::ServiceRemoved { name } => wire.service_removed = Some(name.to_wire()),
            Self::Upsert(instance) => wire.upsert = Some(instance.to_wire()),
            // What a later version tells has no number here yet.
            _ => {}
        }
        wire
    }

    fn from_wire(wire: wire::Event) -> Result<Self> {
        let id = |id: &str| api::InstanceId::parse(id);
        match wire {
            wire::Event { upsert: Some(instance), .. } => {
                Ok(Self::Upsert(Form::from_wire(instance)?))
            }
            wire::Event { remove: Some(removal), .. } => Ok(Self::Remove {
                id: id(&removal.id)?,
                epoch: api::Epoch(removal.epoch),
                cause: cause::read(removal.cause)?,
            }),
            wire::Event { health: Some(judgement), .. } => Ok(Self::Health {
                id: id(&judgement.id)?,
                epoch: api::Epoch(judgement.epoch),
                health: health::read(judgement.health)?,
            }),
            wire::Event { service: Some(record), .. } => {
                Ok(Self::Service(Form::from_wire(record)?))
            }
            wire::Event { service_removed: Some(name), .. } => {
                Ok(Self::ServiceRemoved { name: Form::from_wire(name)? })
            }
            _ => Err(Error::invalid("event", "is of a kind that is not known")),
        }
    }
}

impl Form for api::WatchItem {
    type Wire = wire::WatchItem;

    fn to_wire(&self) -> wire::WatchItem {
        let mut wire = wire::WatchItem::default();
        match self {
            Self::Reset(view) => wire.reset = Some(view.to_wire()),
            Self::Changes { revision, events } => {
                let (revision, events) = (revision.to_wire(), all_to_wire(events));
                wire.changes = Some(wire::Changes { revision, events });
            }
            Self::Progress(revision) => wire.progress = Some(revision.to_wire()),
        }
        wire
    }

    fn from_wire(wire: wire::WatchItem) -> Result<Self> {
        match wire {
            wire::WatchItem { reset: Some(view), .. } => Ok(Self::Reset(Form::from_wire(view)?)),
            wire::WatchItem { changes: Some(changes), .. } => Ok(Self::Changes {
                revision: Form::from_wire(changes.revision)?,
                events: all_from_wire(changes.events)?,
            }),
            wire::WatchItem { progress: Some(revision), .. } => {
                Ok(Self::Progress(Form::from_wire(revision)?))
            }
            _ => Err(Error::invalid("watch", "has an item of a kind that is not known")),
        }
    }
}
