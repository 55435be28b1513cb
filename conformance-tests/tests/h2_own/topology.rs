//! Who gets a request that names a service and no instance.

use std::collections::HashSet;
use std::time::Duration;

use conformance_tests::own::{Outcome, check};
use conformance_tests::servers::RabbitMq;
use portolan::call::Host;

use super::peer::{Peer, answers};
use super::{Echo, Instance, Place, with_plugins};

const SERVICE: &str = "com.hailocab.service.shared";
const REQUESTS: usize = 300;
pub(super) const HASHING: &str = "rabbitmq_consistent_hash_exchange";
const RANDOM: &str = "rabbitmq_random_exchange";

pub(super) async fn a_hashing_exchange_shares_requests(_: &Place) -> Result<(), Outcome> {
    shares(&with_plugins(&[HASHING, RANDOM])?).await
}

pub(super) async fn a_random_exchange_shares_requests(_: &Place) -> Result<(), Outcome> {
    shares(&with_plugins(&[RANDOM])?).await
}

pub(super) async fn without_plugins_one_queue_shares_requests(_: &Place) -> Result<(), Outcome> {
    shares(&with_plugins(&[])?).await
}

/// Each of three instances gets its share, and nothing is run twice.
async fn shares(broker: &RabbitMq) -> Result<(), Outcome> {
    let instances = three(broker).await?;
    let answered = ask(broker, "all").await?;
    check(answered == REQUESTS, format_args!("{answered} answers"))?;
    let ran: Vec<_> = instances.iter().map(|instance| instance.echo.ran()).collect();
    let shares: Vec<_> = ran.iter().map(Vec::len).collect();
    // Of 100 each; a fair choice is this far off once in a million.
    check(shares.iter().all(|share| *share >= 50), format_args!("{shares:?}"))?;
    let different: HashSet<_> = ran.iter().flatten().collect();
    let total: usize = shares.iter().sum();
    check((total, different.len()) == (REQUESTS, REQUESTS), format_args!("{shares:?}"))
}

/// Instances that share a queue go on with it when the broker learns to choose: both
/// at a time would give each request to two of them.
pub(super) async fn an_exchange_that_appears_later_doubles_nothing(
    _: &Place,
) -> Result<(), Outcome> {
    let broker = with_plugins(&[])?;
    let first = Instance::serve(&broker, SERVICE, Echo::default()).await?;
    broker.plugins(&["enable", HASHING])?;
    let second = Instance::serve(&broker, SERVICE, Echo::default()).await?;
    let answered = ask(&broker, "all").await?;
    check(answered == REQUESTS, format_args!("{answered} answers"))?;
    let (one, other) = (first.echo.ran().len(), second.echo.ran().len());
    check(one + other == REQUESTS && one.min(other) > 100, format_args!("{one} and {other}"))
}

pub(super) async fn an_instance_that_leaves_answers_what_it_has(_: &Place) -> Result<(), Outcome> {
    for plugins in [&[HASHING][..], &[]] {
        let broker = with_plugins(plugins)?;
        let instances = three(&broker).await?;
        let leaving = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            instances[0].host.close().await;
        };
        let (answered, ()) = tokio::join!(ask(&broker, "leaving"), leaving);
        let answered = answered?;
        check(answered == REQUESTS, format_args!("{plugins:?}: {answered} answers"))?;
        let before = instances[0].echo.ran().len();
        let answered = ask(&broker, "left").await?;
        check(answered == REQUESTS, format_args!("{plugins:?}: then {answered} answers"))?;
        let after = instances[0].echo.ran().len();
        check(before == after, format_args!("it had left, and ran {}", after - before))?;
    }
    Ok(())
}

async fn three(broker: &RabbitMq) -> Result<Vec<Instance>, Outcome> {
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(Instance::serve(broker, SERVICE, Echo::default()).await?);
    }
    Ok(instances)
}

/// Sends all requests, and says how many of them were answered; twice is a failure.
async fn ask(broker: &RabbitMq, round: &str) -> Result<usize, Outcome> {
    let queue = format!("client-{round}");
    let mut peer = Peer::open(broker, &queue, &queue).await?;
    for n in 0..REQUESTS {
        peer.request(SERVICE, &format!("{round}-{n}")).await?;
        if n % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let answers: Vec<_> =
        peer.collect(Duration::from_millis(700)).await.iter().map(answers).collect();
    let different: HashSet<_> = answers.iter().collect();
    let double = answers.len() - different.len();
    check(double == 0, format_args!("{double} were answered twice"))?;
    Ok(different.len())
}
