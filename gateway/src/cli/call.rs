//! `portolan call SERVICE METHOD JSON`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::Method;
use clap::Args as ClapArgs;
use portolan::call::Headers;
use portolan::grpc::{GrpcCaller, Security};
use portolan::identity::{Passport, Signed};
use portolan::thrift::json::{Json, Style};
use portolan::thrift::{CallerOptions, ThriftCaller, idl};
use portolan::{AddressPolicy, ChannelOptions, Client, ClientOptions, Registry, ServiceName};

use super::source::{HTTP, Opened, Source};
use super::{Failure, out};
use crate::dispatch::{self, Callers, DispatchError, Dispatched, Dispatcher, Request};
use crate::http_client::escape;
use crate::json;

/// `portolan call`
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The service
    service: String,
    /// The method, by its public path
    method: String,
    /// The argument; leave it out for a method that takes none
    json: Option<String>,
    /// Call as whoever this passport is of; `portolan identity issue` prints one
    #[arg(long, value_name = "FILE")]
    passport: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let name = ServiceName::parse(&args.service)?;
    let argument = args.json.as_deref().map(|text| json::parse(text.as_bytes())).transpose();
    let argument = argument.map_err(|reason| Failure::usage(format!("JSON: {reason}")))?;
    let passport = args.passport.as_deref().map(read).transpose()?;
    match args.source.open(HTTP).await? {
        Opened::Gateway(client) => {
            let client = match passport {
                Some(passport) => client.with_bearer(passport.expose())?,
                None => *client,
            };
            let path = format!("/{}/{}", escape(name.as_str()), escape(&args.method));
            let (status, body) = client.send(Method::POST, &path, argument.as_ref()).await?;
            if !status.is_success() {
                return Err(Failure::answered(status, &body));
            }
            out::line(body);
            Ok(())
        }
        Opened::Backend(registry) => {
            let dispatcher = dispatcher(registry, passport);
            let request = Request {
                service: &name,
                path: &args.method,
                argument: argument.as_ref().map(Json::Value),
                idempotent: false,
                headers: Headers::new(),
                wait: None,
                style: Style::default().with_bare_text(true),
            };
            match dispatcher.call(request).await.map_err(refuse)? {
                Dispatched::Text(text) | Dispatched::Json(text) => {
                    out::line(String::from_utf8_lossy(&text));
                }
                Dispatched::Opaque(bytes) => out::line(String::from_utf8_lossy(&bytes)),
                Dispatched::Exception(name, value) => {
                    let thrown = dispatch::thrown(&name, &value);
                    return Err(Failure::failed(String::from_utf8_lossy(&thrown)));
                }
            }
            Ok(())
        }
    }
}

fn read(file: &Path) -> Result<Passport, Failure> {
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Failure::usage(format!("--passport {}: {error}", file.display())))?;
    Ok(Passport::parse(text.trim())?)
}

/// Calls without a gateway between, as whoever the passport is of.
fn dispatcher(registry: Arc<dyn Registry>, passport: Option<Passport>) -> Dispatcher {
    // The caller dials, so its own loopback is nobody else's.
    let policy = AddressPolicy::new().allow_loopback(true);
    let thrift = Arc::new(ThriftCaller::new(policy.clone(), CallerOptions::default()));
    let protobuf = Arc::new(GrpcCaller::new(policy, Security::SystemRoots));
    let callers = match passport.map(Arc::new) {
        Some(passport) => Callers {
            thrift: Arc::new(Signed::new(thrift, Arc::clone(&passport))),
            protobuf: Arc::new(Signed::new(protobuf, passport)),
        },
        None => Callers { thrift, protobuf },
    };
    let client = Client::new(registry, ClientOptions::default());
    Dispatcher::new(client, callers, ChannelOptions::default(), idl::Cache::default())
}

fn refuse(error: DispatchError) -> Failure {
    match error {
        DispatchError::Argument(error) => Failure::usage(format!("JSON: {error}")),
        DispatchError::Call(error) => Failure::failed(error.to_string()),
        DispatchError::EmptyBody => Failure::usage("the method takes an argument"),
        DispatchError::Interface(reason) => Failure::failed(reason),
        DispatchError::Registry(error) => error.into(),
        DispatchError::Unknown => Failure::not_found("there is no such service or method"),
    }
}
