//! `portolan keys issue|revoke OWNER`.

use std::sync::Arc;

use clap::{Args as ClapArgs, Subcommand};
use portolan::{KeyAccess, KeyHash, Owner, SystemClock};
use serde_json::json;

use super::{Failure, Output, out};

/// `portolan keys`
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give an owner one more API key, and print it once
    Issue {
        /// The owner
        owner: String,
        /// The registry backend
        #[arg(long, value_name = "URL")]
        backend: String,
    },
    /// Take an API key away from an owner
    Revoke {
        /// The owner
        owner: String,
        /// The id of the key, as issue prints it; may be left out where the
        /// owner has only one
        #[arg(long, value_name = "ID")]
        key: Option<String>,
        /// The registry backend
        #[arg(long, value_name = "URL")]
        backend: String,
    },
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    match args.command {
        Command::Issue { owner, backend } => {
            let owner = Owner::parse(&owner)?;
            let key = open(&backend).await?.issue(&owner).await?;
            let id = key.hash().id();
            match output {
                Output::Json => out::line(format_args!(
                    "{}",
                    json!({"owner": owner, "id": id, "key": key.expose()})
                )),
                Output::Table => {
                    out::line(key.expose());
                    eprintln!("key {id} of {owner}; it is not shown again");
                }
            }
            Ok(())
        }
        Command::Revoke { owner, key, backend } => {
            let owner = Owner::parse(&owner)?;
            let access = open(&backend).await?;
            let hash = choose(&access.keys(&owner).await?, key.as_deref())?;
            access.revoke(&owner, hash).await?;
            eprintln!("key {} of {owner} is revoked", hash.id());
            Ok(())
        }
    }
}

async fn open(backend: &str) -> Result<KeyAccess, Failure> {
    let registry = portolan::open(backend).await?;
    Ok(KeyAccess::new(registry, Arc::new(SystemClock), None))
}

fn choose(keys: &[KeyHash], id: Option<&str>) -> Result<KeyHash, Failure> {
    let ids: Vec<_> = keys.iter().map(KeyHash::id).collect();
    let known = ids.join(", ");
    match (id, keys) {
        (Some(id), keys) => {
            let found = keys.iter().find(|key| key.id() == id).copied();
            found.ok_or_else(|| Failure::not_found(format!("no key {id}; there is: {known}")))
        }
        (None, [only]) => Ok(*only),
        (None, []) => Err(Failure::not_found("the owner has no key")),
        (None, _) => Err(Failure::usage(format!("--key: which one of {known}?"))),
    }
}
