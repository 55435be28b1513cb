//! As much of `protoc` as build scripts ask for: `-I` directories, `-o` or
//! `--descriptor_set_out` a file, and protocol files.

use std::error::Error;
use std::path::PathBuf;

use protox::Compiler;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut includes, mut files, mut output) = (Vec::new(), Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--version" {
            println!("libprotoc 3.21.0");
            return Ok(());
        } else if argument == "-I" {
            includes.extend(arguments.next());
        } else if argument == "-o" {
            output = arguments.next();
        } else if let Some(directory) = argument.strip_prefix("-I") {
            includes.push(directory.to_owned());
        } else if let Some(directory) = argument.strip_prefix("--proto_path=") {
            includes.push(directory.to_owned());
        } else if let Some(file) = argument.strip_prefix("--descriptor_set_out=") {
            output = Some(file.to_owned());
        } else if !argument.starts_with('-') {
            files.push(PathBuf::from(argument));
        }
    }
    let mut compiler = Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    let output = output.ok_or("protoc-shim needs -o FILE")?;
    Ok(std::fs::write(output, compiler.encode_file_descriptor_set())?)
}
