//! Registries that are asked for what is not here. They are asked as clients ask, with
//! V2GetTarget: ids that guard against loops (RequestForTarget) are not spoken.
//! Facts: yacloud-software/registry at 1e4b61e3, `registryimpl/`.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message;
use registry_api::call::{Call, Caller, Peer};
use registry_api::{Address, AddressPolicy, Clock, Result, ServiceName, Timestamp};

use super::wire::{Apitype, Target, V2GetTargetRequest, V2GetTargetResponse};
use super::{Identity, SCHEME};
use crate::direct::GrpcCaller;

/// Other registries of go-easyops. What they say is believed for a quarter of a minute.
pub struct Upstreams {
    addresses: Vec<Address>,
    caller: GrpcCaller,
    clock: Arc<dyn Clock>,
    /// What they said last. Nothing, while they are being asked: two that ask each other
    /// would never end.
    said: Mutex<HashMap<(String, i32), Said>>,
}

struct Said {
    at: Timestamp,
    targets: Vec<Target>,
}

const FRESH: Duration = Duration::from_secs(15);
/// How long they may take.
const WITHIN: Duration = Duration::from_secs(2);
/// All is forgotten beyond so many names.
const MAX_SAID: usize = 10_000;

impl Upstreams {
    /// Asks the registries at `places`, each `host:port` of the one that speaks TLS.
    ///
    /// Errors: `InvalidArgument` for a place that is none; `Unavailable` where there is
    /// no TLS.
    pub fn new(
        places: &[String],
        policy: AddressPolicy,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let address = |place: &String| Address::parse(&format!("{SCHEME}://{place}"));
        let addresses = places.iter().map(address).collect::<Result<_>>()?;
        let caller = GrpcCaller::easyops(policy, identity)?;
        Ok(Self { addresses, caller, clock, said: Mutex::default() })
    }

    /// What they know under a name.
    pub(super) async fn targets(&self, name: &str, api: Apitype) -> Vec<Target> {
        if self.addresses.is_empty() {
            return Vec::new();
        }
        let (asked, now) = ((name.to_owned(), i32::from(api)), self.clock.now());
        if let Some(said) = self.lock().get(&asked).filter(|said| now.since(said.at) < FRESH) {
            return said.targets.clone();
        }
        self.say(asked.clone(), Vec::new());
        let all = join_all(self.addresses.iter().map(|address| self.ask(address, name, api))).await;
        let targets: Vec<_> = all.into_iter().flatten().collect();
        self.say(asked, targets.clone());
        targets
    }

    async fn ask(&self, address: &Address, name: &str, api: Apitype) -> Vec<Target> {
        let request = V2GetTargetRequest {
            api_type: api.into(),
            service_name: vec![name.to_owned()],
            ..V2GetTargetRequest::default()
        };
        let Ok(registry) = ServiceName::parse("registry.Registry") else { return Vec::new() };
        let call = Call::new(registry, "V2GetTarget", request.encode_to_vec().into());
        let answer = self.caller.call(Peer::at(address), call.with_timeout(WITHIN)).await;
        let answer = match answer {
            Ok(reply) => V2GetTargetResponse::decode(reply.payload).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        answer.map(|answer| answer.targets).unwrap_or_else(|error| {
            tracing::warn!(%address, error, "a registry upstream does not answer");
            Vec::new()
        })
    }

    fn say(&self, asked: (String, i32), targets: Vec<Target>) {
        let mut said = self.lock();
        if said.len() >= MAX_SAID {
            said.clear();
        }
        said.insert(asked, Said { at: self.clock.now(), targets });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, i32), Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
