//! Users of a database: those who may not define tables, those who may nothing,
//! and schemas.

use conformance_tests::fixtures::{beat, instance, query};
use portolan::{BeatOutcome, ErrorKind, Query, RegistryExt};

use super::contention::lasting;
use super::{Database, Outcome, Place, check};
use crate::sql::Kind;

const PASSWORD: &str = "secret-of-svc";

/// The URL of a user who may read and write what is there, and define nothing.
async fn as_writer(database: &Database, kind: Kind) -> Result<String, Outcome> {
    let mut owner = database.admin().await?;
    let name = database.name();
    let user = format!("{name}_w");
    match kind {
        Kind::MySql => {
            owner.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'")).await?;
            let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO '{user}'@'%'");
            owner.run(&grant).await?;
        }
        Kind::Postgres => {
            owner.run(&format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")).await?;
            let tables = "ON ALL TABLES IN SCHEMA public";
            let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE {tables} TO {user}");
            owner.run(&grant).await?;
            let sequences = format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}");
            owner.run(&sequences).await?;
        }
    }
    Ok(with_user(&database.url, &format!("{user}:{PASSWORD}")))
}

fn with_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{user}@{host}")
}

pub(super) async fn who_may_not_define_runs_on_what_is_there(place: &Place) -> Result<(), Outcome> {
    let Some(kind) = place.kind else { return Err(Outcome::NotClaimed) };
    let database = place.database().await?;
    drop(database.open().await?);
    let handle = database.open_as(&as_writer(&database, kind).await?).await?;
    handle.connect_one(instance("i", "a", lasting())).await?;
    let outcome = handle.heartbeat_one(beat("i", 1)).await?;
    check(outcome == BeatOutcome::Renewed, format_args!("{outcome:?}"))?;
    let mut watch = handle.watch(&portolan::Scope::All, Default::default()).await?;
    super::contention::next(&mut watch).await?;
    handle.connect_one(instance("j", "a", lasting())).await?;
    super::contention::next(&mut watch).await?;
    check(handle.resolve(&query("a")).await?.instances.len() == 2, "a read was wrong")
}

pub(super) async fn who_may_nothing_is_refused_without_a_word_of_secrets(
    place: &Place,
) -> Result<(), Outcome> {
    let Some(kind) = place.kind else { return Err(Outcome::NotClaimed) };
    let database = place.database().await?;
    drop(database.open().await?);
    let url = as_writer(&database, kind).await?;
    let mut refused = Vec::new();
    if kind == Kind::MySql {
        // The private PostgreSQL trusts everybody who reaches it.
        let wrong = url.replace(PASSWORD, "wrong-secret");
        refused.push((wrong, ErrorKind::Unauthenticated));
    }
    let mut owner = database.admin().await?;
    let user = format!("{}_w", database.name());
    let revoke = match kind {
        Kind::MySql => format!("REVOKE SELECT ON {}.* FROM '{user}'@'%'", database.name()),
        Kind::Postgres => format!("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {user}"),
    };
    owner.run(&revoke).await?;
    refused.push((url, ErrorKind::PermissionDenied));
    for (url, expected) in refused {
        let error = match database.open_as(&url).await {
            Err(error) => error,
            Ok(handle) => match handle.resolve(&Query::all()).await {
                Err(error) => error,
                Ok(_) => return Err(Outcome::Broken("he may read".into())),
            },
        };
        let told = format!("{error:?} {error}");
        check(error.kind() == expected, &told)?;
        check(!told.contains("secret"), "a password is shown")?;
    }
    Ok(())
}

pub(super) async fn schemas_are_registries_apart(place: &Place) -> Result<(), Outcome> {
    if place.kind != Some(Kind::Postgres) {
        return Err(Outcome::NotClaimed);
    }
    let database = place.database().await?;
    let mut owner = database.admin().await?;
    let mut handles = Vec::new();
    for schema in ["one", "Two"] {
        owner.run(&format!("CREATE SCHEMA \"{schema}\"")).await?;
        let url = format!("{}?schema={schema}", database.url);
        handles.push(database.open_as(&url).await?);
    }
    handles.push(database.open().await?);
    let mut watch = handles[1].watch(&portolan::Scope::All, Default::default()).await?;
    super::contention::next(&mut watch).await?;
    for (handle, id) in handles.iter().zip(["i", "j", "k"]) {
        handle.connect_one(instance(id, "a", lasting())).await?;
    }
    for (handle, id) in handles.iter().zip(["i", "j", "k"]) {
        let view = handle.resolve(&Query::all()).await?;
        let listed: Vec<_> = view.instances.iter().map(|i| i.id.as_str()).collect();
        check(listed == [id], format_args!("{listed:?}"))?;
    }
    let told = super::contention::next(&mut watch).await?;
    let told = format!("{told:?}");
    check(told.contains("\"j\"") && !told.contains("\"i\""), told)
}
