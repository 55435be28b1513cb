//! The tree as this gateway shows it, and what happened in it lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use portolan::{InstanceId, Revision, ServiceName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answer::{Refusal, line, respond};
use super::event::{Entry, Event, Node, wall_clock};
use super::request::{Parameters, Place, key_of};

/// Who is there, and since which index.
#[derive(Debug)]
pub(crate) struct Face {
    tree: Mutex<Tree>,
    /// The index of the last event.
    index: watch::Sender<u64>,
    waiting: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Tree {
    index: u64,
    servers: BTreeMap<(ServiceName, InstanceId), Entry>,
    /// When each domain was first written to: it stays, as a directory does.
    domains: BTreeMap<ServiceName, u64>,
    history: VecDeque<Event>,
}

/// Servers with their values.
pub(super) type Listed = BTreeMap<(ServiceName, InstanceId), String>;

/// Events that are kept for who waits from before, as many as etcd keeps.
const HISTORY: usize = 1_000;
/// Domains that are remembered when nobody is in them any more.
const DOMAINS: usize = 10_000;
/// Who may wait at the same time.
const WAITING: usize = 10_000;

impl Face {
    /// An empty tree. Waits end when `draining` says so.
    pub(crate) fn new(draining: watch::Receiver<bool>) -> Self {
        let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let index = u64::try_from(since.as_millis()).unwrap_or_default();
        let tree = Tree {
            index,
            servers: BTreeMap::new(),
            domains: BTreeMap::new(),
            history: VecDeque::new(),
        };
        Self {
            tree: Mutex::new(tree),
            index: watch::Sender::new(index),
            waiting: Arc::new(Semaphore::new(WAITING)),
            draining,
        }
    }

    /// A refusal at the present index.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        refusal.response(self.tree().index)
    }

    /// The server at a place.
    pub(super) fn entry(&self, service: &ServiceName, id: &InstanceId) -> Option<Entry> {
        self.tree().servers.get(&(service.clone(), id.clone())).cloned()
    }

    /// Lists a server, by this action; answers what a writer is told who found it
    /// listed, or not.
    pub(super) fn put(
        &self,
        action: &'static str,
        (service, id): (&ServiceName, &InstanceId),
        entry: Entry,
        was_listed: bool,
    ) -> Response {
        let at = (service.clone(), id.clone());
        let mut tree = self.tree();
        let listed = tree.servers.get_mut(&at).filter(|listed| listed.value == entry.value);
        // The registry may have told of this very write already.
        if let Some(listed) = listed.filter(|_| !was_listed) {
            *listed = Entry { modified: listed.modified, created: listed.created, ..entry };
            let node = listed.node(&key_of(service, id));
            let event = Event { action, node, before: None };
            return respond(StatusCode::CREATED, event.node.modified, line(&event));
        }
        let event = tree.put(action, at, entry);
        drop(tree);
        self.index.send_replace(event.node.modified);
        let status = if event.before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
        respond(status, event.node.modified, line(&event))
    }

    /// Lists a server as the registry has it, unless it is listed so already.
    pub(super) fn list(&self, service: &ServiceName, id: &InstanceId, value: String) {
        let mut tree = self.tree();
        let at = (service.clone(), id.clone());
        if tree.servers.get(&at).is_none_or(|entry| entry.value != value) {
            let event = tree.put("set", at, Entry::told(value));
            drop(tree);
            self.index.send_replace(event.node.modified);
        }
    }

    /// Takes a server off the list, if it is there. Whoever waits is told that it
    /// expired; the answer is for who asked for it.
    pub(super) fn unlist(&self, service: &ServiceName, id: &InstanceId) -> Option<Response> {
        let mut event = self.tree().expire(&(service.clone(), id.clone()))?;
        self.index.send_replace(event.node.modified);
        event.action = "delete";
        Some(respond(StatusCode::OK, event.node.modified, line(&event)))
    }

    /// Takes off the list whoever is not in `there`, which is how the registry was
    /// at `revision`.
    pub(super) fn keep(&self, there: &Listed, revision: Option<Revision>) {
        let mut tree = self.tree();
        let gone = tree.servers.iter().filter(|(at, entry)| {
            // What was written since is not there yet.
            let is_newer = entry.written.zip(revision).is_some_and(|(written, now)| written > now);
            !is_newer && !there.contains_key(at)
        });
        let gone: Vec<_> = gone.map(|(at, _)| at.clone()).collect();
        let events: Vec<_> = gone.iter().filter_map(|at| tree.expire(at)).collect();
        let index = tree.index;
        drop(tree);
        if !events.is_empty() {
            self.index.send_replace(index);
        }
    }

    /// `GET`: a server, or a directory.
    pub(super) fn get(&self, place: &Place, parameters: &Parameters) -> Result<Response, Refusal> {
        let recursive = parameters.flag("recursive")?;
        parameters.flag("sorted")?; // It always is.
        parameters.flag("quorum")?;
        let tree = self.tree();
        let node = tree.node(place, recursive)?;
        let event = Event { action: "get", node, before: None };
        Ok(respond(StatusCode::OK, tree.index, line(&event)))
    }

    /// `GET ?wait=true`: the first event at or after an index. The head is sent at
    /// once; hprose clients wait a second for it.
    pub(super) fn wait(
        self: &Arc<Self>,
        place: &Place,
        parameters: &Parameters,
    ) -> Result<Response, Refusal> {
        let recursive = parameters.flag("recursive")?;
        let asked = parameters.wait_index()?;
        let permit = Arc::clone(&self.waiting).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::crowded())?;
        let tree = self.tree();
        let (now, oldest) = (tree.index, tree.oldest());
        drop(tree);
        if asked > 0 && asked < oldest {
            return Err(Refusal::cleared(oldest, asked));
        }
        // An index of another gateway may lie ahead: what it knew is not known here.
        let from = if asked == 0 || asked > now { now + 1 } else { asked };
        let (face, place) = (Arc::clone(self), place.clone());
        let event = async move {
            let told = face.first(&place, recursive, from, permit).await;
            Ok::<_, std::convert::Infallible>(Bytes::from(told.unwrap_or_default()))
        };
        Ok(respond(StatusCode::OK, now, Body::from_stream(stream::once(event))))
    }

    /// The first event that counts; `None` when the gateway drains.
    async fn first(
        &self,
        place: &Place,
        recursive: bool,
        from: u64,
        _permit: OwnedSemaphorePermit,
    ) -> Option<String> {
        let (mut index, mut draining) = (self.index.subscribe(), self.draining.clone());
        loop {
            index.mark_unchanged();
            let found = self.tree().history.iter().find_map(|event| {
                let counts = event.node.modified >= from;
                (counts && place.covers(&event.node.key, recursive)).then(|| line(event))
            });
            if found.is_some() {
                return found;
            }
            tokio::select! {
                _ = index.changed() => {} // The sender is ours.
                _ = draining.wait_for(|draining| *draining) => return None,
            }
        }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn put(
        &mut self,
        action: &'static str,
        at: (ServiceName, InstanceId),
        mut entry: Entry,
    ) -> Event {
        self.index += 1;
        let key = key_of(&at.0, &at.1);
        self.enter(&at.0);
        let before = self.servers.get(&at);
        // Setting makes a key anew, updating keeps when it was made.
        let kept = before.filter(|_| action == "update").map(|before| before.created);
        (entry.modified, entry.created) = (self.index, kept.unwrap_or(self.index));
        let before = before.map(|before| before.node(&key));
        let event = Event { action, node: entry.node(&key), before };
        self.servers.insert(at, entry);
        self.tell(event.clone());
        event
    }

    fn expire(&mut self, at: &(ServiceName, InstanceId)) -> Option<Event> {
        let entry = self.servers.remove(at)?;
        self.index += 1;
        let key = key_of(&at.0, &at.1);
        let before = entry.node(&key);
        let node = entry.gone(&key, self.index);
        let event = Event { action: "expire", node, before: Some(before) };
        self.tell(event.clone());
        Some(event)
    }

    fn tell(&mut self, event: Event) {
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }

    /// The oldest index that can still be waited for.
    fn oldest(&self) -> u64 {
        let is_whole = self.history.len() < HISTORY;
        let first = self.history.front().filter(|_| !is_whole);
        first.map_or(0, |event| event.node.modified)
    }

    fn node(&self, place: &Place, recursive: bool) -> Result<Node, Refusal> {
        let missing = || Refusal::not_found(&place.key());
        match place {
            Place::Server(service, id) => {
                let found = self.servers.get(&(service.clone(), id.clone()));
                Ok(found.ok_or_else(missing)?.node(&place.key()))
            }
            Place::Domain(service) => self.domain(service, true).ok_or_else(missing),
            Place::Root => {
                let domains = self.domains.keys().filter_map(|name| self.domain(name, recursive));
                let since = self.domains.values().copied().min().ok_or_else(missing)?;
                Ok(directory(place.key(), domains.collect(), since))
            }
        }
    }

    fn domain(&self, service: &ServiceName, with_servers: bool) -> Option<Node> {
        let since = *self.domains.get(service)?;
        let servers = self.servers.iter().filter(|((domain, _), _)| domain == service);
        let nodes = servers.map(|((service, id), entry)| entry.node(&key_of(service, id)));
        let nodes = if with_servers { nodes.collect() } else { Vec::new() };
        Some(directory(Place::Domain(service.clone()).key(), nodes, since))
    }

    /// Somebody comes into a domain.
    fn enter(&mut self, service: &ServiceName) {
        if self.domains.len() >= DOMAINS && !self.domains.contains_key(service) {
            let servers = &self.servers;
            self.domains.retain(|known, _| servers.keys().any(|(domain, _)| domain == known));
        }
        self.domains.entry(service.clone()).or_insert(self.index);
    }
}

fn directory(key: String, nodes: Vec<Node>, since: u64) -> Node {
    let nodes = (!nodes.is_empty()).then_some(nodes);
    Node { key, dir: true, nodes, modified: since, created: since, ..Node::default() }
}
