//! Which addresses may be called. Needs no backend; listed with the others
//! because it is a guarantee of the specification.

use std::net::SocketAddr;

use registry_api::AddressPolicy;

use crate::case::cases;
use crate::ctx::Ctx;
use crate::failure::{Failure, check};
use crate::fixtures::{address, granted, id, offering, query, service};

cases! { "address":
    "S4" refused_addresses_are_refused_in_every_spelling
    "S4" the_resolved_address_is_judged_again
    "S4" the_policy_does_not_apply_to_listing
}

async fn refused_addresses_are_refused_in_every_spelling(_cx: &Ctx) -> Result<(), Failure> {
    let policy = AddressPolicy::new();
    for host in [
        "127.0.0.1",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "2130706433",
        "localhost",
        "[::1]",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "fd00:ec2::254",
        "100.100.100.200",
    ] {
        check(policy.check_host(host, 80).is_err(), format_args!("{host} was let through"))?;
    }
    check(policy.check_host("10.1.2.3", 80).is_ok(), "an ordinary address was refused")
}

async fn the_resolved_address_is_judged_again(_cx: &Ctx) -> Result<(), Failure> {
    let policy = AddressPolicy::new();
    check(policy.check_host("innocent.example", 80).is_ok(), "a host name was refused")?;
    let resolved = SocketAddr::from(([169, 254, 169, 254], 80));
    check(policy.check(resolved).is_err(), "what it resolved to was let through")
}

async fn the_policy_does_not_apply_to_listing(cx: &Ctx) -> Result<(), Failure> {
    let refused = address("tcp4://169.254.128.35:4321/");
    let offer = registry_api::Offer::new(service("a"), refused.clone());
    granted(cx.registry().connect(&[offering("i", [offer], cx.lasting())]).await)?;
    let view = cx.registry().resolve(&query("a")).await?;
    let listed = view.instance(&id("i")).map(|i| i.offers[0].addresses[0].clone());
    check(listed == Some(refused), "a refused address is not listed as it was given")
}
