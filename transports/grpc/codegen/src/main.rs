//! `cargo run -p portolan-grpc-codegen` writes `transports/grpc/src/generated/`
//! anew from the files in `transports/grpc/proto/`; its test checks that this was
//! done. A package of its own, so that nobody who uses the crate compiles
//! a compiler, and so that it runs while the crate does not compile.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const HEADER: &str =
    "//! Generated from `proto/` by `portolan-grpc-codegen`: not edited by hand.\n";
const OURS: [&str; 2] = ["portolan/v1/registry.proto", "portolan/v1/forward.proto"];
/// Messages of the stream that hold a key, or one that does: they print nothing.
const SECRET: [&str; 4] = [
    "registry.ConnectionMessage",
    "registry.ConnectionMessage.message_type",
    "registry.ConnectionRegister",
    "registry.RegisterRequest",
];

/// Messages of go-easyops that hold a token.
const TOKENS: [&str; 2] = ["auth.AuthenticateTokenRequest", "auth.SignedAuthResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    for (path, text) in generate()? {
        fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Every generated file, and what it has to say.
fn generate() -> Result<Vec<(PathBuf, String)>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = tempfile::tempdir()?;
    let proto = [root.join("proto")];
    let configure = || tonic_prost_build::configure().out_dir(out.path()).bytes(".").btree_map(".");
    configure().build_transport(false).compile_fds(protox::compile(OURS, &proto)?)?;
    // Our own code reads and writes the frames of the stream.
    let messages = configure().build_client(false).build_server(false);
    messages.skip_debug(SECRET).compile_fds(protox::compile(["reverse.proto"], &proto)?)?;
    // Its packages have names of others: a directory of their own.
    let easyops = tempfile::tempdir()?;
    let files = ["registry", "auth", "goeasyops"].map(|name| format!("easyops/{name}.proto"));
    tonic_prost_build::configure()
        .out_dir(easyops.path())
        .bytes(".")
        .build_client(false)
        .skip_debug(TOKENS)
        .compile_fds(protox::compile(files, &proto)?)?;
    // The service of the examples.
    let greeter = root.join("../../examples/greeter");
    tonic_prost_build::configure()
        .out_dir(out.path())
        .build_transport(false)
        .compile_fds(protox::compile(["greeter.proto"], [&greeter])?)?;
    let made = [("registry.rs", "reverse.rs"), ("portolan.v1.rs", "v1.rs")];
    let kept = made.map(|(made, kept)| (made, root.join("src/generated").join(kept)));
    let kept = kept.into_iter().chain([("greeter.rs", greeter.join("greeter.rs"))]);
    let kept = kept.map(|(made, kept)| (out.path().join(made), kept));
    let packages = ["registry", "auth", "goeasyops", "common"].map(|name| format!("{name}.rs"));
    let generated = root.join("src/generated/easyops");
    let packages = packages.map(|name| (easyops.path().join(&name), generated.join(&name)));
    kept.chain(packages)
        .map(|(made, kept)| Ok((kept, format!("{HEADER}{}", fs::read_to_string(made)?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_code_is_what_the_protocol_files_say() {
        for (path, text) in generate().unwrap() {
            let same = fs::read_to_string(&path).unwrap() == text;
            assert!(same, "{}: run cargo run -p portolan-grpc-codegen", path.display());
        }
    }
}
