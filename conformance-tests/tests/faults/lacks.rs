//! What the database lacks: room, permission, connections.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use conformance_tests::fixtures::{instance, owner, query, service};
use conformance_tests::servers::Recipe;
use portolan::{Error, ErrorKind, Registration, RegistrationMode, RegistryExt, ServiceSpec};

use super::contention::lasting;
use super::{Database, Outcome, Place, check};
use crate::sql::Kind;

/// A small file system of its own; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(megabytes: u32) -> Result<Self, Outcome> {
        let path = std::env::temp_dir().join(format!("portolan-disk-{:x}", crate::sql::random()));
        std::fs::create_dir_all(&path).map_err(|error| Outcome::Absent(error.to_string()))?;
        let disk = Self(path);
        let size = format!("size={megabytes}m,mode=755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk.0);
        match mount.output() {
            Ok(output) if output.status.success() => Ok(disk),
            _ => Err(Outcome::Root),
        }
    }

    fn remount(&self, options: &str) -> Result<(), Outcome> {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        let done = mount
            .stderr(std::process::Stdio::null())
            .status()
            .map_err(|error| Outcome::Absent(error.to_string()))?;
        check(done.success(), "the disk cannot be remounted")
    }

    /// Fills it up; what makes room again is removing the file.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        if let Ok(mut file) = std::fs::File::create(&path) {
            for size in [1024 * 1024, 4096, 512] {
                while file.write_all(&vec![1; size]).is_ok() {}
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A declaration of some size.
fn bulky(n: usize) -> Registration {
    let spec = ServiceSpec::new(service(&format!("s{n}"))).with_idl("x".repeat(100 * 1024));
    Registration::new(owner(&format!("o{n}")), RegistrationMode::Create, vec![spec])
}

/// Errors that say: not now, and nothing was lost.
fn is_lack(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::Timeout)
}

pub(super) async fn a_full_disk_is_an_error_and_loses_nothing(
    place: &Place,
) -> Result<(), Outcome> {
    let megabytes = match place.kind {
        None => 8,
        Some(Kind::Postgres) => 130,
        Some(Kind::MySql) => 260,
    };
    let disk = SmallDisk::mount(megabytes)?;
    let recipe = Recipe { data: Some(disk.0.clone()), ..Recipe::default() };
    let server = place.kind.map(|kind| kind.start(&recipe)).transpose()?;
    let database = match (&server, place.kind) {
        (Some(server), Some(kind)) => Database::on(kind, server).await?,
        _ => Database::file(&disk.0),
    };
    let handle = database.open().await?;
    handle.connect_one(instance("i", "a", lasting())).await?;
    let filler = disk.fill();
    let mut acknowledged = Vec::new();
    let mut refused = None;
    for n in 0..400 {
        match handle.register(bulky(n)).await {
            Ok(_) => acknowledged.push(n),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.ok_or_else(|| Outcome::Broken("the disk was never full".into()))?;
    check(is_lack(&error), format_args!("a full disk is {error:?}"))?;
    std::fs::remove_file(&filler).map_err(|error| Outcome::Broken(error.to_string()))?;
    // Some servers end on a full log, as they must, and are started by somebody.
    let mut again = handle.register(bulky(1_000)).await;
    for _ in 0..40 {
        if again.is_ok() {
            break;
        }
        if let Some(server) = &server {
            server.restart_if_ended()?;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        again = handle.register(bulky(1_000)).await;
    }
    again?;
    let view = handle.resolve(&portolan::Query::all()).await?;
    check(view.instances.len() == 1, "an instance is gone")?;
    let lost = acknowledged.iter().find(|n| view.service(&service(&format!("s{n}"))).is_none());
    check(lost.is_none(), format_args!("{lost:?} was acknowledged and is gone"))
}

pub(super) async fn a_read_only_database_is_an_error_and_goes_on_reading(
    place: &Place,
) -> Result<(), Outcome> {
    if place.kind.is_none() {
        return a_read_only_file_is_an_error().await;
    }
    let database = place.database().await?;
    let handle = match database.kind {
        Some(Kind::MySql) => {
            // Whoever may do everything may write to a read-only server, too.
            let mut owner = database.owner().await?;
            let name = database.name();
            owner.run(&format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'x'")).await?;
            owner.run(&format!("GRANT ALL ON {name}.* TO '{name}'@'%'")).await?;
            let url = database.url.replace("//root@", &format!("//{name}:x@"));
            database.open_as(&url).await?
        }
        _ => database.open().await?,
    };
    handle.connect_one(instance("i", "a", lasting())).await?;
    read_only(&database, true).await?;
    let refused = handle.connect_one(instance("j", "a", lasting())).await.err();
    let read = handle.resolve(&query("a")).await;
    read_only(&database, false).await?;
    let kind = refused.as_ref().map(Error::kind);
    check(kind == Some(ErrorKind::Unavailable), format_args!("a write is {refused:?}"))?;
    let told = refused.map(|error| error.to_string()).unwrap_or_default();
    check(told.contains("read-only"), format_args!("it says {told}"))?;
    check(read?.instances.len() == 1, "a read was wrong")?;
    handle.connect_one(instance("j", "a", lasting())).await?;
    Ok(())
}

/// A file that is open stays writable, so it is about opening one.
async fn a_read_only_file_is_an_error() -> Result<(), Outcome> {
    let disk = SmallDisk::mount(32)?;
    let database = Database::file(&disk.0);
    let handle = database.open().await?;
    handle.connect_one(instance("i", "a", lasting())).await?;
    drop(handle);
    // Its connections are closed by threads of their own.
    let mut sealed = disk.remount("ro");
    for _ in 0..50 {
        if sealed.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        sealed = disk.remount("ro");
    }
    sealed?;
    let opened = database.open().await.err();
    disk.remount("rw")?;
    let kind = opened.as_ref().map(Error::kind);
    check(kind == Some(ErrorKind::Unavailable), format_args!("it is {opened:?}"))?;
    let view = database.open().await?.resolve(&query("a")).await?;
    check(view.instances.len() == 1, "a read was wrong")
}

async fn read_only(database: &Database, read_only: bool) -> Result<(), Outcome> {
    let mut owner = database.owner().await?;
    let name = database.name();
    match database.kind {
        Some(Kind::MySql) => owner.run(&format!("SET GLOBAL read_only = {read_only}")).await?,
        _ => {
            let set =
                format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}");
            owner.run(&set).await?;
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname";
            owner.run(&format!("{end} = '{name}'")).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_crowded_server_is_an_error_and_recovers(
    place: &Place,
) -> Result<(), Outcome> {
    let Some(kind) = place.kind else { return Err(Outcome::NotClaimed) };
    let few = match kind {
        Kind::Postgres => vec!["-c".into(), "max_connections=20".into()],
        Kind::MySql => vec!["--max-connections=20".into()],
    };
    let server = kind.start(&Recipe { arguments: few, ..Recipe::default() })?;
    let database = Database::on(kind, &server).await?;
    let first = database.open().await?;
    first.connect_one(instance("i", "a", lasting())).await?;
    first.resolve(&query("a")).await?;
    let mut crowd = Vec::new();
    let mut refused = None;
    for _ in 0..40 {
        match crate::sql::Admin::connect(kind, &database.url).await {
            Ok(admin) => crowd.push(admin),
            Err(_) => break,
        }
    }
    for _ in 0..3 {
        if let Err(error) = database.open().await {
            refused = Some(error);
        }
    }
    let error = refused.ok_or_else(|| Outcome::Broken("it was never crowded".into()))?;
    check(error.kind() == ErrorKind::Overloaded, format_args!("too many clients are {error:?}"))?;
    // Who is in stays in.
    first.connect_one(instance("j", "a", lasting())).await?;
    drop(crowd);
    for _ in 0..20 {
        if let Ok(handle) = database.open().await {
            check(handle.resolve(&query("a")).await?.instances.len() == 2, "a read was wrong")?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Outcome::Broken("it did not recover".into()))
}
