//! Compiles the chat's `.proto` files: messages and clients as code, and the descriptors that a user
//! function answers to `discover`.

#![allow(clippy::disallowed_methods, reason = "cargo talks to a build script through the environment")]

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for name in ["friends", "presence"] {
        let file = format!("{name}.proto");
        println!("cargo:rerun-if-changed=chat/{file}");
        let mut compiler = protox::Compiler::new(["chat", "../proto"])?;
        compiler.include_imports(true).open_file(&file)?;
        // As bytes: a message of prost's knows no extensions and would drop the entity keys.
        std::fs::write(out.join(format!("{name}.bin")), compiler.encode_file_descriptor_set())?;
        let mut set = compiler.file_descriptor_set();
        set.file.retain(|described| described.name() == file);
        tonic_prost_build::configure()
            .build_server(false)
            // The chat has a method `Connect`, which would clash with the generated constructor.
            .build_transport(false)
            .out_dir(&out)
            .compile_fds(set)?;
    }
    Ok(())
}
