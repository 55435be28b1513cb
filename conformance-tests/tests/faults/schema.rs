//! Tables: made once, left alone where they are newer; and files whose writers
//! are killed.

use std::collections::BTreeSet;

use conformance_tests::fixtures::{instance, query};
use futures_util::future::try_join_all;
use portolan::{ErrorKind, RegistryExt};

use super::child::Child;
use super::contention::lasting;
use super::{Outcome, Place, check};

pub(super) async fn many_migrators_at_once_make_one_schema(place: &Place) -> Result<(), Outcome> {
    for _ in 0..5 {
        let database = place.database().await?;
        let handles = try_join_all((0..8).map(|_| database.open())).await?;
        let mut admin = database.admin().await?;
        let versions = admin.number("SELECT COUNT(*) FROM portolan_schema").await?;
        let clocks = admin.number("SELECT COUNT(*) FROM portolan_clock").await?;
        let spaces = admin.number("SELECT COUNT(*) FROM portolan_namespaces").await?;
        check((versions, clocks, spaces) == (1, 1, 1), "something was made twice")?;
        for (n, handle) in handles.iter().enumerate() {
            handle.connect_one(instance(&format!("i{n}"), "a", lasting())).await?;
        }
        let view = handles[0].resolve(&query("a")).await?;
        check(view.instances.len() == handles.len(), "they are not one registry")?;
    }
    Ok(())
}

pub(super) async fn a_newer_schema_is_left_alone(place: &Place) -> Result<(), Outcome> {
    let database = place.database().await?;
    drop(database.open().await?);
    let mut admin = database.admin().await?;
    admin.run("UPDATE portolan_schema SET version = 7").await?;
    match database.open().await {
        Ok(_) => Err(Outcome::Broken("tables of the future were opened".into())),
        Err(error) => {
            let told = (error.kind(), error.context("version"), error.context("known"));
            let expected = (ErrorKind::Unsupported, Some("7"), Some("1"));
            check(told == expected, format_args!("{error}"))
        }
    }
}

/// Several processes write; each is killed in the middle of it. What one of them
/// was told is done stays done.
pub(super) async fn writers_that_are_killed_lose_nothing(place: &Place) -> Result<(), Outcome> {
    let database = place.database().await?;
    let handle = database.open().await?;
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        let writers: Vec<_> =
            (0..3).map(|n| Child::writer(&database.url, &format!("w{round}-{n}"))).collect();
        let time = std::time::Duration::from_millis(150 + 70 * round);
        tokio::time::sleep(time).await;
        for writer in writers {
            acknowledged.extend(writer?.kill()?);
        }
        let view = handle.resolve(&query("a")).await?;
        let there: BTreeSet<_> = view.instances.iter().map(|i| i.id.to_string()).collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        check(lost.is_empty(), format_args!("{lost:?} were acknowledged and are gone"))?;
    }
    check(acknowledged.len() > 20, format_args!("only {} writes", acknowledged.len()))
}
