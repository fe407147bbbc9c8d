//! Writes a descriptor set with all imports and options, as `protoc --include_imports --descriptor_set_out` does, without `protoc`.
//!
//! `cargo run -p proto --example descriptor_set -- OUT FILE.proto... -I FOLDER...`

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let split = arguments.iter().position(|argument| argument == "-I").unwrap_or(arguments.len());
    let (files, folders) = (arguments.get(1..split).unwrap_or(&[]), arguments.get(split + 1..).unwrap_or(&[]));
    let (Some(out), false, false) = (arguments.first(), files.is_empty(), folders.is_empty()) else {
        bail!("usage: descriptor_set OUT FILE.proto... -I FOLDER...");
    };
    let mut compiler = protox::Compiler::new(folders)?;
    compiler.include_imports(true).include_source_info(false).open_files(files)?;
    std::fs::write(out, compiler.encode_file_descriptor_set()).with_context(|| format!("{out} cannot be written"))
}
