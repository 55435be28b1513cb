//! The architecture's invariants, read from the tree so that they stay true.
//! The list with its reasons is in docs/ARCHITECTURE.md.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a directory with one of these extensions, as (path, text).
fn files(directory: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "__pycache__", "bench-harness"].contains(&&*name) {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            continue;
        }
        let wanted = extensions.iter().any(|e| path.extension().is_some_and(|have| have == *e));
        if wanted {
            let shown = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push((shown, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// A source without its test module and comments: what runs.
fn running(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The crates of this workspace that a manifest names under `[dependencies]`.
fn own_dependencies(manifest: &Path) -> Vec<String> {
    const OWN: [&str; 13] = [
        "backend-amqp",
        "backend-etcd",
        "backend-memory",
        "backend-sql",
        "conformance-tests",
        "portolan",
        "portolan-amqp",
        "portolan-amqp-link",
        "portolan-gateway",
        "portolan-grpc",
        "portolan-http",
        "portolan-thrift",
        "registry-api",
    ];
    let text = fs::read_to_string(manifest).unwrap();
    let table = text.split("[dependencies]").nth(1).unwrap_or_default();
    let table = table.split("\n[").next().unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| OWN.contains(name)).map(str::to_owned).collect()
}

#[test]
fn the_contract_does_no_io_spawns_nothing_and_reads_no_clock() {
    for (path, text) in files("registry-api/src", &["rs"]) {
        for banned in
            ["tokio", "std::fs", "std::thread", "std::env", "Instant", "SystemTime", "TcpStream"]
        {
            assert!(!running(&text).contains(banned), "{path} names {banned}");
        }
    }
    for (path, text) in files("registry-api/src/kernel", &["rs"]) {
        for banned in ["async", "await", "bytes::", "serde"] {
            assert!(!running(&text).contains(banned), "the kernel is std only: {path}: {banned}");
        }
    }
}

#[test]
fn crates_depend_downwards_only() {
    for (directory, allowed) in [
        ("registry-api", &[][..]),
        ("backend-amqp", &["portolan-amqp-link", "registry-api"]),
        ("backend-memory", &["registry-api"]),
        ("backend-etcd", &["registry-api"]),
        ("backend-sql", &["registry-api"]),
        ("transports/amqp", &["portolan-amqp-link", "registry-api"]),
        ("transports/amqp/link", &[]),
        ("transports/grpc", &["registry-api"]),
        ("transports/http", &["registry-api"]),
        ("transports/thrift", &["registry-api"]),
        (
            ".",
            &[
                "registry-api",
                "backend-amqp",
                "backend-etcd",
                "backend-memory",
                "backend-sql",
                "portolan-amqp",
                "portolan-grpc",
                "portolan-http",
                "portolan-thrift",
            ],
        ),
        ("gateway", &["portolan"]),
        ("conformance-tests", &["registry-api", "portolan"]),
    ] {
        let manifest = root().join(directory).join("Cargo.toml");
        for name in own_dependencies(&manifest) {
            assert!(allowed.contains(&&*name), "{directory} must not depend on {name}");
        }
    }
}

#[test]
fn only_the_kernel_decides_about_leases() {
    let backends = [
        "backend-amqp/src",
        "backend-etcd/src",
        "backend-memory/src",
        "backend-sql/src",
        "transports",
    ];
    let backends = backends.into_iter();
    for (path, text) in backends.flat_map(|directory| files(directory, &["rs"])) {
        // A wire's registry and a table's records write down what was decided.
        if path.contains("/registry/model/") || path.ends_with("/record.rs") {
            continue;
        }
        for banned in [".ttl()", ".ttd()", "Health::Offline", "Cause::", ".epoch >", ".epoch <"] {
            assert!(!running(&text).contains(banned), "{path} decides by {banned}");
        }
    }
}

#[test]
fn refusals_have_one_place_per_layer() {
    // The guard refuses what is not claimed, `open` an unknown scheme, a wire's
    // dialler an address that is not its own, a database's schema and a log a version
    // of the future; the others only translate.
    let allowed = [
        "registry-api/src/call/error.rs",
        "registry-api/src/error.rs",
        "registry-api/src/guard.rs",
        "backend-amqp/src/pursuit.rs",
        "backend-sql/src/dialect/mod.rs",
        "backend-sql/src/schema.rs",
        "src/open.rs",
        "transports/amqp/src/error.rs",
        "transports/grpc/src/registry/model/mod.rs",
        "transports/grpc/src/reverse/message.rs",
        "transports/grpc/src/status.rs",
        "transports/thrift/src/answer.rs",
        "transports/thrift/src/link/dial.rs",
        "transports/thrift/src/registry/error.rs",
        "transports/thrift/src/registry/model/mod.rs",
        "gateway/src/problem.rs",
        "gateway/src/cli/failure.rs",
    ];
    for directory in [
        "registry-api/src",
        "backend-amqp/src",
        "backend-etcd/src",
        "backend-memory/src",
        "backend-sql/src",
        "src",
        "transports/amqp/src",
        "transports/grpc/src",
        "transports/http/src",
        "transports/thrift/src",
        "gateway/src",
    ] {
        for (path, text) in files(directory, &["rs"]) {
            let generated = path.contains("/generated/");
            let refuses = running(&text).contains("Unsupported") && !generated;
            assert!(!refuses || allowed.contains(&&*path), "{path} refuses by itself");
        }
    }
}

#[test]
fn there_is_no_global_state() {
    for (path, text) in files(".", &["rs"]) {
        for banned in ["static mut", "lazy_static", "thread_local!", "#[ctor", "LazyLock"] {
            let here = path == "tests/invariants.rs";
            assert!(here || !running(&text).contains(banned), "{path} has {banned}");
        }
        let statics = running(&text).lines().filter(|l| l.starts_with("static ")).count();
        assert!(statics == 0 || path == "src/clock.rs", "{path} has a static");
    }
}

#[test]
fn features_choose_modules_and_nothing_else() {
    let allowed = [
        "backend-sql/src/dialect/mod.rs",
        "backend-sql/src/lib.rs",
        "src/adapters/mod.rs",
        "src/lib.rs",
        "src/open.rs",
        "conformance-tests/src/cases/mod.rs",
        "conformance-tests/src/calls/mod.rs",
    ];
    for (path, text) in files(".", &["rs"]) {
        let here = path == "tests/invariants.rs";
        let gated = running(&text).contains("cfg(feature");
        assert!(here || !gated || allowed.contains(&&*path), "{path} has cfg(feature)");
    }
}

#[test]
fn every_task_has_an_owner() {
    // Files that spawn, each with a guard that ends the task: abort on drop, a
    // `JoinSet`, or a task that ends by itself within a bound that it states.
    let owned = [
        "backend-amqp/src/registry.rs",
        "backend-etcd/src/lane.rs",
        "backend-memory/src/sweeper.rs",
        "backend-sql/src/lane.rs",
        "gateway/src/etcd_v2/follow.rs",
        "conformance-tests/src/proxy.rs",
        "conformance-tests/src/mutants/tell.rs",
        "examples/tcp_service.rs",
        "examples/tonic_channel.rs",
        "gateway/src/cli/demo/mod.rs",
        "gateway/src/cli/run.rs",
        "gateway/src/listen.rs",
        "gateway/src/tls.rs",
        "src/adapters/tonic.rs",
        "src/in_process.rs",
        "src/keys/policy.rs",
        "src/membership/driver.rs",
        "src/membership/pulse.rs",
        "src/status/server.rs",
        "src/view/views.rs",
        "transports/amqp/src/caller.rs",
        "transports/amqp/src/discovery/forwarder.rs",
        "transports/amqp/src/discovery/mod.rs",
        "transports/amqp/src/host.rs",
        "transports/amqp/src/service/mod.rs",
        "transports/grpc/src/gateway/stream.rs",
        "transports/grpc/src/host/plain.rs",
        "transports/grpc/src/host/running.rs",
        "transports/http/src/host.rs",
        "transports/thrift/src/host/mod.rs",
        "transports/thrift/src/host/running.rs",
        "transports/thrift/src/link/mux.rs",
        "transports/thrift/src/link/peers.rs",
        "transports/thrift/src/registry/remote.rs",
    ];
    for (path, text) in files(".", &["rs"]) {
        let spawns = running(&text).contains("tokio::spawn(");
        let test = path.contains("tests/");
        assert!(!spawns || test || owned.contains(&&*path), "{path} spawns a task");
    }
}

#[test]
fn files_are_small_and_say_what_they_are() {
    for (path, text) in files(".", &["rs"]) {
        let lines = text.lines().count();
        // What a generator wrote is read in the file it was written from.
        let generated = path.contains("/generated/");
        assert!(lines <= 600 || generated, "{path} has {lines} lines: does it hold two ideas?");
        assert!(text.starts_with("//!"), "{path} does not begin with what it is");
    }
    let napkin = fs::read_to_string(root().join("registry-api/tests/naive/mod.rs")).unwrap();
    assert!(napkin.lines().count() <= 150, "the naive model must be seen at a glance");
    let example = root().join("conformance-tests/examples/custom_backend.rs");
    assert!(fs::read_to_string(example).unwrap().lines().count() < 150);
}

#[test]
fn a_stranger_finds_every_crate_and_both_commands() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (readme, architecture) = (read("README.md"), read("docs/ARCHITECTURE.md"));
    for command in ["cargo run --release -- demo", "./scripts/test"] {
        assert!(readme.contains(command), "README.md lacks {command}");
    }
    for directory in [
        "registry-api",
        "backend-amqp",
        "backend-memory",
        "backend-sql",
        "transports/amqp",
        "transports/amqp/link",
        "transports/grpc",
        "transports/http",
        "transports/thrift",
        "gateway",
        "conformance-tests",
    ] {
        assert!(architecture.contains(&format!("`{directory}")), "ARCHITECTURE lacks {directory}");
    }
    // Files that the documents name exist.
    for (path, text) in files("docs", &["md"]) {
        for named in text.split('`').filter(|part| part.ends_with(".rs") && part.contains('/')) {
            assert!(root().join(named).exists(), "{path} names {named}, which is not there");
        }
    }
    assert!(root().join(PathBuf::from(".ci/run")).exists());
}
