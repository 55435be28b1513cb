//! `registry.Registry`: servers register every ten seconds, clients ask where they are.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry_api::access::{Asker, Credential, Desk};
use registry_api::{
    AddressPolicy, Beat, BeatOutcome, Error, ErrorKind, InstanceRef, InstanceSpec, Namespace,
    Query, Registry, Result, ServiceName, View,
};
use tonic::{Extensions, Request, Response, Status};

use super::record::{Record, phase, spec};
use super::upstream::Upstreams;
use super::wire::registry_server::{Registry as Wire, RegistryServer};
use super::wire::*;
use super::{Ends, common, probe};
use crate::status;

/// Where this registry itself is found, and what may join it.
#[derive(Clone, Debug)]
pub struct Here {
    /// The host that others reach us by; without one, where they reached us.
    pub advertise: Option<String>,
    /// The port that speaks TLS, for clients.
    pub tls_port: u16,
    /// Where instances may be.
    pub policy: AddressPolicy,
}

/// The registry of a cloud of go-easyops, over a registry on any backend.
#[derive(Debug)]
pub struct EasyopsRegistry {
    registry: Arc<dyn Registry>,
    namespace: Namespace,
    desk: Desk,
    here: Here,
    upstreams: Option<Upstreams>,
    /// What was registered last by whom, so that the same again is a beat.
    known: Mutex<HashMap<String, (InstanceSpec, Beat)>>,
}

/// What is found at the gateway itself.
const OWN: [&str; 2] = ["registry.Registry", "auth.AuthenticationService"];
/// All is forgotten beyond so many: the next registration of each is a question more.
const MAX_KNOWN: usize = 100_000;

impl EasyopsRegistry {
    /// Over `registry`. `desk` says who may join with what; nobody shows a credential.
    pub fn new(registry: Arc<dyn Registry>, namespace: Namespace, desk: Desk, here: Here) -> Self {
        let (upstreams, known) = Default::default();
        Self { registry, namespace, desk, here, upstreams, known }
    }

    /// Asks these for what is not here.
    #[must_use]
    pub fn with_upstreams(mut self, upstreams: Upstreams) -> Self {
        self.upstreams = Some(upstreams);
        self
    }

    /// The service, as `tonic` serves it.
    pub fn service(self: &Arc<Self>) -> RegistryServer<Self> {
        RegistryServer::from_arc(Arc::clone(self))
    }

    /// The lives that registered here and say how they are, and where they are asked.
    pub(super) fn probed(&self) -> Vec<(InstanceRef, String, u16)> {
        let known = self.known();
        let each = known.values().filter_map(|(spec, beat)| {
            let (host, port) = probe::target(spec)?;
            Some((InstanceRef { id: spec.id.clone(), epoch: beat.epoch }, host, port))
        });
        each.collect()
    }

    /// Takes one life away.
    pub(super) async fn take_out(&self, life: &InstanceRef) {
        match self.registry.disconnect(std::slice::from_ref(life)).await {
            Ok(()) => drop(self.known().remove(life.id.as_str())),
            Err(error) => tracing::warn!(%error, id = %life.id, "it cannot be taken out"),
        }
    }

    /// Takes away what registered so from here, if it did.
    pub(super) async fn forget(
        &self,
        request: &RegisterServiceRequest,
        remote: SocketAddr,
    ) -> Result<()> {
        let id = spec(request, &self.host_of(remote.ip()))?.id;
        let life = self.known().get(id.as_str()).map(|(_, beat)| beat.epoch);
        if let Some(epoch) = life {
            self.take_out(&InstanceRef { id, epoch }).await;
        }
        Ok(())
    }

    fn asker(&self) -> Result<Asker<'_>> {
        self.desk.asker(&self.namespace, Credential::none())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (InstanceSpec, Beat)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host of an instance: where its connection comes from. Who comes from this
    /// machine is found where we are.
    fn host_of(&self, remote: IpAddr) -> String {
        match &self.here.advertise {
            Some(host) if remote.is_loopback() => host.clone(),
            _ => remote.to_canonical().to_string(),
        }
    }

    pub(super) async fn register(
        &self,
        request: RegisterServiceRequest,
        remote: SocketAddr,
    ) -> Result<()> {
        let host = self.host_of(remote.ip());
        let mut spec = spec(&request, &host)?;
        if let (Ok(ip), Ok(port)) = (host.parse::<IpAddr>(), u16::try_from(request.port)) {
            let judged = self.here.policy.check((ip, port).into());
            judged.map_err(|refusal| Error::invalid("address", refusal.to_string()))?;
        }
        let id = spec.id.to_string();
        let known = self.known().get(&id).cloned();
        if let Some((before, beat)) = known {
            if phase(request.health()).is_none() {
                spec.phase = before.phase; // It says nothing new.
            }
            let again = spec.clone().with_epoch(beat.epoch);
            if again == before && self.beat(&beat).await? {
                return Ok(());
            }
            spec = again;
        } else if let Some(live) = self.live(&spec).await? {
            spec = spec.with_epoch(live);
        }
        let lease = self.connect(spec.clone()).await?;
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(id, (spec.with_epoch(lease.epoch), lease.beat()));
        Ok(())
    }

    /// The life of it that another gateway knows.
    async fn live(&self, spec: &InstanceSpec) -> Result<Option<registry_api::Epoch>> {
        match self.registry.resolve(&Query::instance(spec.id.clone())).await {
            Ok(view) => Ok(view.instance(&spec.id).map(|instance| instance.epoch)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn connect(&self, spec: InstanceSpec) -> Result<registry_api::Lease> {
        self.asker()?.connect(vec![Ok(spec)]).await?.remove(0)
    }

    /// Whether the registry still has it.
    async fn beat(&self, beat: &Beat) -> Result<bool> {
        let outcomes = self.registry.heartbeat(std::slice::from_ref(beat)).await?;
        Ok(outcomes.first() == Some(&BeatOutcome::Renewed))
    }

    /// Takes those away that `are` meant, whatever they serve.
    async fn remove(&self, are: impl Fn(&Record<'_>) -> bool) -> Result<()> {
        let view = self.registry.resolve(&Query::all()).await?;
        let meant: Vec<_> = records(&view).filter(|record| are(record)).collect();
        let lives: Vec<_> = meant.iter().map(|record| record.instance().reference()).collect();
        if !lives.is_empty() {
            self.registry.disconnect(&lives).await?;
        }
        let mut known = self.known();
        for life in lives {
            known.remove(life.id.as_str());
        }
        Ok(())
    }

    async fn targets(&self, name: &str, api: Apitype, ends: Ends) -> Result<Vec<Target>> {
        if OWN.contains(&name) {
            return Ok(vec![self.own(name, ends)]);
        }
        let Ok(service) = ServiceName::parse(name) else { return Ok(Vec::new()) };
        let here: Vec<_> = match self.registry.resolve(&Query::service(service)).await {
            Ok(view) => records(&view).filter_map(|record| record.target(api)).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        match &self.upstreams {
            Some(upstreams) if here.is_empty() => Ok(upstreams.targets(name, api).await),
            _ => Ok(here),
        }
    }

    fn own(&self, name: &str, ends: Ends) -> Target {
        let here = || ends.local.ip().to_canonical().to_string();
        Target {
            service_name: name.to_owned(),
            ip: self.here.advertise.clone().unwrap_or_else(here),
            port: self.here.tls_port.into(),
            api_type: vec![Apitype::Status.into(), Apitype::Grpc.into()],
            ..Target::default()
        }
    }
}

fn records(view: &View) -> impl Iterator<Item = Record<'_>> {
    view.instances.iter().filter_map(Record::read)
}

fn ends(extensions: &Extensions) -> std::result::Result<Ends, Status> {
    let unknown = || Status::internal("the listener does not say where connections come from");
    extensions.get::<Ends>().copied().ok_or_else(unknown)
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
fn told(error: Error) -> Status {
    status::of_registry(&error)
}

#[tonic::async_trait]
impl Wire for EasyopsRegistry {
    async fn v2_register_service(
        &self,
        request: Request<RegisterServiceRequest>,
    ) -> std::result::Result<Response<RegisterServiceResponse>, Status> {
        let remote = ends(request.extensions())?.remote;
        self.register(request.into_inner(), remote).await.map_err(told)?;
        Ok(Response::new(RegisterServiceResponse {}))
    }

    /// Only from where the process is: its id is no secret.
    async fn v2_deregister_service(
        &self,
        request: Request<DeregisterServiceRequest>,
    ) -> std::result::Result<Response<common::Void>, Status> {
        let host = self.host_of(ends(request.extensions())?.remote.ip());
        let process = request.into_inner().process_id;
        let is = |record: &Record<'_>| record.process() == process && record.is_on(&host);
        self.remove(is).await.map_err(told)?;
        Ok(Response::new(common::Void {}))
    }

    async fn v2_get_target(
        &self,
        request: Request<V2GetTargetRequest>,
    ) -> std::result::Result<Response<V2GetTargetResponse>, Status> {
        let ends = ends(request.extensions())?;
        let request = request.into_inner();
        let mut targets = Vec::new();
        for name in &request.service_name {
            targets.extend(self.targets(name, request.api_type(), ends).await.map_err(told)?);
        }
        Ok(Response::new(V2GetTargetResponse { targets }))
    }

    async fn list_registrations(
        &self,
        request: Request<V2ListRequest>,
    ) -> std::result::Result<Response<RegistrationList>, Status> {
        let part = request.into_inner().name_match;
        let view = self.registry.resolve(&Query::all()).await.map_err(told)?;
        let all = records(&view).map(|record| record.registration());
        let is_meant = |one: &Registration| {
            one.target.as_ref().is_some_and(|target| target.service_name.contains(&part))
        };
        Ok(Response::new(RegistrationList { registrations: all.filter(is_meant).collect() }))
    }

    async fn inform_process_shutdown(
        &self,
        request: Request<ProcessShutdownRequest>,
    ) -> std::result::Result<Response<EmptyResponse>, Status> {
        let host = self.host_of(ends(request.extensions())?.remote.ip());
        let ports = request.into_inner().port;
        self.remove(|record| record.is_on(&host) && record.is_at(&ports)).await.map_err(told)?;
        Ok(Response::new(EmptyResponse {}))
    }

    async fn get_target(
        &self,
        request: Request<GetTargetRequest>,
    ) -> std::result::Result<Response<ListResponse>, Status> {
        let ends = ends(request.extensions())?;
        let request = request.into_inner();
        let targets = self.targets(&request.name, request.api_type(), ends).await.map_err(told)?;
        let service = targets.into_iter().map(|target| located(target, ends)).collect();
        Ok(Response::new(ListResponse { service }))
    }
}

/// A target as older clients read it.
fn located(target: Target, ends: Ends) -> GetResponse {
    let service = ServiceDescription { name: target.service_name, path: String::new() };
    let address = ServiceAddress {
        host: target.ip,
        port: i32::try_from(target.port).unwrap_or_default(),
        api_type: target.api_type,
        routing_info: target.routing_info,
    };
    GetResponse {
        service: Some(service.clone()),
        location: Some(ServiceLocation { service: Some(service), address: vec![address] }),
        service_id: String::new(),
        your_ip: ends.remote.ip().to_canonical().to_string(),
    }
}
