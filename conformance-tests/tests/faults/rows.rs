//! Rows that this program did not write.

use conformance_tests::fixtures::{beat, id, instance, life, query, scope};
use portolan::{Query, RegistryExt, WatchFrom, WatchItem};

use super::contention::{lasting, next, upserts};
use super::{Outcome, Place, check};
use crate::sql::Kind;

/// A table whose columns may be NULL, as somebody's tool made it.
pub(super) async fn rows_with_nulls_are_passed_over(place: &Place) -> Result<(), Outcome> {
    let database = place.database().await?;
    let handle = database.open().await?;
    handle.connect_one(instance("i", "a", lasting())).await?;
    let mut watch = handle.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    let mut admin = database.admin().await?;
    let junk = match database.kind {
        Some(Kind::Postgres) => {
            for (table, column) in NULLABLE {
                let alter = format!("ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL");
                admin.run(&alter).await?;
            }
            "NULL"
        }
        Some(Kind::MySql) => {
            for (table, column) in NULLABLE {
                let kind = if column == "format" { "BIGINT" } else { "LONGTEXT" };
                admin.run(&format!("ALTER TABLE {table} MODIFY {column} {kind} NULL")).await?;
            }
            "NULL"
        }
        // A column of SQLite holds anything but that.
        None => "x'ff00fe'",
    };
    let ns = "(SELECT id FROM portolan_namespaces WHERE name = 'default')";
    for (slot, at, format, record) in [
        (-1, "n1", junk, "'{}'"),
        (-2, "n2", "1", junk),
        (-3, "n3", junk, junk),
        (-4, "n4", "-1", "''"),
    ] {
        admin
            .run(&format!(
                "INSERT INTO portolan_instances (ns, id, format, record)
                 SELECT {ns}, '{at}', {format}, {record} FROM portolan_clock"
            ))
            .await?;
        admin
            .run(&format!(
                "INSERT INTO portolan_leases
                     (slot, ns, id, epoch, ttl, ttd, beat_at, term, told)
                 SELECT {slot}, {ns}, '{at}', 1, -5, 9223372036854775807, 0, 1, 99 FROM portolan_clock"
            ))
            .await?;
        admin
            .run(&format!(
                "INSERT INTO portolan_offers (ns, service, id)
                 SELECT {ns}, 'a', '{at}' FROM portolan_clock"
            ))
            .await?;
    }
    let view = handle.resolve(&query("a")).await?;
    check(view.instances.len() == 1, format_args!("{:?}", view.instances))?;
    // Their ids can be taken over, and others are not in the way.
    let specs = ["n1", "n2", "j"].map(|name| instance(name, "a", lasting()));
    for lease in handle.connect(&specs).await? {
        lease?;
    }
    handle.disconnect(&[life("n3", 1), life("n4", 1)]).await?;
    handle.heartbeat(&[beat("n3", 1), beat("j", 1)]).await?;
    let seen = upserts(&next(&mut watch).await?);
    check(seen.len() == 3, format_args!("the watcher saw {seen:?}"))?;
    let view = handle.resolve(&Query::all()).await?;
    check(view.instances.len() == 4, format_args!("{:?}", view.instances))
}

const NULLABLE: [(&str, &str); 2] =
    [("portolan_instances", "format"), ("portolan_instances", "record")];

/// While a fleet is upgraded, the older one must not destroy what it cannot read.
pub(super) async fn rows_of_a_newer_program_are_left_alone(place: &Place) -> Result<(), Outcome> {
    let database = place.database().await?;
    let handle = database.open().await?;
    handle.connect_one(instance("i", "a", lasting())).await?;
    handle.connect_one(instance("newer", "a", lasting())).await?;
    let mut admin = database.admin().await?;
    admin.run("UPDATE portolan_instances SET format = 2 WHERE id = 'newer'").await?;
    admin.run("UPDATE portolan_leases SET ttl = 1, ttd = 1 WHERE id = 'newer'").await?;
    // Somebody watches, so leases are looked at; the newer one's is over.
    let fresh = database.open().await?;
    let mut watch = fresh.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    fresh.connect_one(instance("j", "a", lasting())).await?;
    next(&mut watch).await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let view = fresh.resolve(&query("a")).await?;
    check(view.instance(&id("i")).is_some(), "a record beside it is gone")?;
    check(view.instance(&id("newer")).is_none(), "it was understood by accident")?;
    let left = admin.number("SELECT COUNT(*) FROM portolan_instances WHERE id = 'newer'").await?;
    check(left == 1, "it was removed")
}

/// The tables as they were a few writes ago. Who watched must not mix both.
pub(super) async fn a_restored_backup_is_another_era(place: &Place) -> Result<(), Outcome> {
    let database = place.database().await?;
    let handle = database.open().await?;
    let kept = handle.connect_one(instance("i", "a", lasting())).await?;
    let mut watch = handle.watch(&scope("a"), WatchFrom::Now).await?;
    next(&mut watch).await?;
    for name in ["j", "k"] {
        handle.connect_one(instance(name, "a", lasting())).await?;
        next(&mut watch).await?;
    }
    let mut admin = database.admin().await?;
    let begin = if database.kind.is_none() { "BEGIN IMMEDIATE" } else { "BEGIN" };
    for text in [
        begin,
        "UPDATE portolan_namespaces SET number = 1, position = 1, events = 1",
        "DELETE FROM portolan_changes WHERE position >= 1",
        "DELETE FROM portolan_instances WHERE id <> 'i'",
        "DELETE FROM portolan_offers WHERE id <> 'i'",
        "DELETE FROM portolan_leases WHERE id <> 'i'",
        "COMMIT",
    ] {
        admin.run(text).await?;
    }
    let WatchItem::Reset(view) = next(&mut watch).await? else {
        return Err(Outcome::Broken("the watcher was not told to begin anew".into()));
    };
    let there: Vec<_> = view.instances.iter().map(|i| i.id.to_string()).collect();
    check(there == ["i"], format_args!("the reset shows {there:?}"))?;
    check(view.revision.era != kept.revision.era, "it is the same era")?;
    handle.connect_one(instance("l", "a", lasting())).await?;
    let seen = upserts(&next(&mut watch).await?);
    check(seen == ["l"], format_args!("then it saw {seen:?}"))?;
    // Who remembers a revision of before begins anew, too.
    let mut resumed = handle.watch(&scope("a"), WatchFrom::Revision(kept.revision)).await?;
    let reset = matches!(next(&mut resumed).await?, WatchItem::Reset(_));
    check(reset, "a revision of another era was resumed")
}
