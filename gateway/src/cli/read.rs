//! `services`, `resolve` and `watch`.

use axum::http::{Method, StatusCode};
use clap::Args;
use futures_util::StreamExt;
use portolan::{Client, ClientOptions, Query, Scope, ServiceName, WatchFrom};
use serde_json::Value;

use super::source::{ADMIN, Opened, Source};
use super::{Failure, Output, out, table};
use crate::http_client::{HttpClient, escape};
use crate::shape;

/// `portolan services`
#[derive(Args, Debug)]
pub(crate) struct ServicesArgs {
    #[command(flatten)]
    source: Source,
}

/// `portolan resolve NAME`
#[derive(Args, Debug)]
pub(crate) struct ResolveArgs {
    /// The service
    name: String,
    #[command(flatten)]
    source: Source,
}

/// `portolan watch NAME`
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// The service
    name: String,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn services(args: ServicesArgs, output: Output) -> Result<(), Failure> {
    let found = match args.source.open(ADMIN).await? {
        Opened::Backend(registry) => shape::services(&registry.resolve(&Query::all()).await?),
        Opened::Gateway(client) => fetch(&client, "/api/v1/services").await?,
    };
    if output == Output::Json {
        out::line(found);
        return Ok(());
    }
    let rows = rows(&found["services"], |service| {
        let of = |key: &str| plain(&service[key]);
        let instances = format!("{}/{}", of("routable"), of("instances"));
        vec![of("service"), instances, of("owner"), of("version"), of("description")]
    });
    table::print(&["SERVICE", "ROUTABLE", "OWNER", "VERSION", "DESCRIPTION"], &rows);
    Ok(())
}

pub(super) async fn resolve(args: ResolveArgs, output: Output) -> Result<(), Failure> {
    let name = ServiceName::parse(&args.name)?;
    let found = match args.source.open(ADMIN).await? {
        Opened::Backend(registry) => {
            let client = Client::new(registry, ClientOptions::default());
            shape::resolved(&name, &client.resolve(&name).await?)
        }
        Opened::Gateway(client) => {
            fetch(&client, &format!("/api/v1/services/{}", escape(name.as_str()))).await?
        }
    };
    match output {
        Output::Json => out::line(found),
        Output::Table => {
            let held = found["held"].as_u64().unwrap_or_default();
            let doubted = match held {
                0 => String::new(),
                held => format!(", {held} held: the registry lost too many at once to be believed"),
            };
            out::line(format_args!("as of {} ms ago{doubted}", plain(&found["age_ms"])));
            print_instances(&found["instances"]);
        }
    }
    Ok(())
}

pub(super) async fn watch(args: WatchArgs, output: Output) -> Result<(), Failure> {
    let name = ServiceName::parse(&args.name)?;
    match args.source.open(ADMIN).await? {
        Opened::Backend(registry) => {
            let scope = Scope::service(name);
            let mut watch = registry.watch(&scope, WatchFrom::Now).await?;
            while let Some(item) = watch.next().await {
                for line in shape::watched(&item?, &scope) {
                    print_change(&line, output);
                }
            }
        }
        Opened::Gateway(client) => {
            let path = format!("/api/v1/watch?service={}", escape(name.as_str()));
            let events = client.events(&path).await?;
            let events = events.map_err(|(status, body)| Failure::answered(status, &body))?;
            let mut events = std::pin::pin!(events);
            while let Some(line) = events.next().await {
                let line = serde_json::from_str(&line);
                let line = line.map_err(|error| Failure::failed(error.to_string()))?;
                print_change(&line, output);
            }
        }
    }
    Err(Failure::unreachable("the watch ended"))
}

async fn fetch(client: &HttpClient, path: &str) -> Result<Value, Failure> {
    let (status, body) = client.send(Method::GET, path, None).await?;
    if status != StatusCode::OK {
        return Err(Failure::answered(status, &body));
    }
    serde_json::from_str(&body).map_err(|error| Failure::failed(error.to_string()))
}

fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

/// A value without quotes, empty where there is none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn print_instances(instances: &Value) {
    let rows = rows(instances, |instance| {
        let of = |key: &str| plain(&instance[key]);
        let addresses: Vec<_> = rows(&instance["addresses"], |a| vec![plain(a)]).concat();
        let health = match instance["held"].as_bool() {
            Some(true) => "held".to_owned(),
            _ => of("health"),
        };
        let (id, addresses) = (of("id"), addresses.join(" "));
        vec![id, health, of("phase"), of("weight"), of("zone"), addresses, of("called")]
    });
    table::print(&["ID", "HEALTH", "PHASE", "WEIGHT", "ZONE", "ADDRESSES", "CALLED"], &rows);
}

fn print_change(line: &Value, output: Output) {
    if output == Output::Json {
        out::line(line);
        return;
    }
    let of = |key: &str| plain(&line[key]);
    match line["event"].as_str() {
        Some("reset") => {
            out::line(format_args!("{}  reset", of("revision")));
            print_instances(&line["instances"]);
        }
        Some("upsert") => {
            let instance = &line["instance"];
            let addresses: Vec<_> = rows(&instance["addresses"], |a| vec![plain(a)]).concat();
            let (id, phase) = (plain(&instance["id"]), plain(&instance["phase"]));
            out::line(format_args!(
                "{}  upsert  {id}  {phase}  {}",
                of("revision"),
                addresses.join(" ")
            ));
        }
        Some("progress") => {}
        Some(event) => {
            let facts = [of("id"), of("health"), of("cause")];
            let facts = facts.into_iter().filter(|fact| !fact.is_empty());
            out::line(format_args!(
                "{}  {event}  {}",
                of("revision"),
                facts.collect::<Vec<_>>().join("  ")
            ));
        }
        None => out::line(line),
    }
}
