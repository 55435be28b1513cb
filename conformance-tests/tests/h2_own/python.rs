//! Peers in another language, on another AMQP client (`interop/h2`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conformance_tests::own::{Outcome, check, within};
use conformance_tests::servers::RabbitMq;
use portolan::h2::{Broker, Discovery, DiscoveryOptions};
use portolan::{Query, Registry};

use super::topology::HASHING;
use super::{Echo, Instance, Place, url, with_plugins};

const PIKA: &str = "1.3.2";
const SERVICE: &str = "com.hailocab.service.hello";
const EVERY: Duration = Duration::from_millis(300);

pub(super) async fn a_python_caller_is_answered_by_three_of_ours(_: &Place) -> Result<(), Outcome> {
    let python = python()?;
    let broker = with_plugins(&[HASHING])?;
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(Instance::serve(&broker, SERVICE, Echo::default()).await?);
    }
    let told = call(&python, &broker, "300").await?;
    check(told == "answered 300 by 3", &told)?;
    let ran: usize = instances.iter().map(|instance| instance.echo.ran().len()).sum();
    check(ran == 300, format_args!("{ran} were run"))
}

pub(super) async fn python_services_join_share_and_go(_: &Place) -> Result<(), Outcome> {
    let python = python()?;
    for plugins in [&[HASHING][..], &[]] {
        let broker = with_plugins(plugins)?;
        let registry = portolan::open("memory:").await?;
        let options = DiscoveryOptions::default().with_ping_every(EVERY);
        let at = Broker::parse(&url(&broker))?;
        let _discovery = Discovery::serve(Arc::clone(&registry), at, options).await?;
        let services = ["one", "two", "three"].map(|name| Service::start(&python, &broker, name));
        let there = || async { Ok(count(&*registry).await? == 3) };
        within(Duration::from_secs(20), "three are there", there).await?;
        // Several ttds.
        tokio::time::sleep(EVERY * 8).await;
        check(count(&*registry).await? == 3, "they answer pings, and are not there")?;
        let told = call(&python, &broker, "300").await?;
        check(told == "answered 300 by 3", format_args!("{plugins:?}: {told}"))?;
        let ran = services.each_ref().map(Service::ran);
        check(ran.iter().sum::<usize>() == 300, format_args!("{plugins:?}: {ran:?}"))?;
        check(ran.iter().all(|ran| *ran >= 50), format_args!("{plugins:?}: {ran:?}"))?;
        drop(services);
        let gone = || async { Ok(count(&*registry).await? == 0) };
        within(EVERY * 6, "the killed are gone", gone).await?;
    }
    Ok(())
}

async fn count(registry: &dyn Registry) -> Result<usize, Outcome> {
    Ok(registry.resolve(&Query::all()).await?.instances.len())
}

/// A service in Python; it is killed when this is dropped.
struct Service {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(python: &Path, broker: &RabbitMq, name: &str) -> Self {
        let mut command = peer(python, broker);
        command.args(["serve", SERVICE, name]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python was found");
        let output = child.stdout.take().expect("it is piped");
        let printed = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&printed);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, printed }
    }

    /// How many requests it has run.
    fn ran(&self) -> usize {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        printed.iter().filter(|line| *line != "registered").count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}

/// What a caller in Python was answered.
async fn call(python: &Path, broker: &RabbitMq, times: &str) -> Result<String, Outcome> {
    let mut command = peer(python, broker);
    command.args(["call", SERVICE, times]);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("it does not panic").expect("python was found");
    let complaint = String::from_utf8_lossy(&output.stderr);
    check(output.status.success(), format_args!("the caller failed: {complaint}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn peer(python: &Path, broker: &RabbitMq) -> Command {
    let mut command = Command::new(python);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/h2/peer.py");
    command.arg(source).arg(url(broker));
    command
}

/// A Python that has the client, made once.
fn python() -> Result<PathBuf, Outcome> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/interop/h2/venv");
    let python = venv.join("bin/python");
    let wanted = format!("import pika; assert pika.__version__ == '{PIKA}'");
    if !runs(Command::new(&python).args(["-c", &wanted])) {
        let made = runs(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && runs(Command::new(&python).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                &format!("pika=={PIKA}"),
            ]));
        if !made {
            return Err(Outcome::Absent(format!("a Python with pika {PIKA}")));
        }
    }
    Ok(python)
}

fn runs(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}
