//! Compiles the `.proto` files without an installed `protoc`.

#![allow(clippy::disallowed_methods, reason = "cargo talks to a build script through the environment")]

use std::path::{Path, PathBuf};

/// The protocol between sidecar and user function, and the options of its front end.
const PROTOCOL: &[&str] = &[
    "cloudstate/entity.proto",
    "cloudstate/event_sourced.proto",
    "cloudstate/value_entity.proto",
    "cloudstate/crdt.proto",
    "cloudstate/action.proto",
    "cloudstate/entity_key.proto",
    "cloudstate/legacy_entity_key.proto",
    "cloudstate/eventing.proto",
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/api/httpbody.proto",
];

/// The conformance suite's model services and the samples.
const MODEL: &[&str] = &[
    "cloudstate/tck/model/action.proto",
    "cloudstate/tck/model/eventsourced.proto",
    "cloudstate/tck/model/valueentity.proto",
    "cloudstate/tck/model/crdt.proto",
    "cloudstate/tck/model/eventlogeventing.proto",
    "shoppingcart/shoppingcart.proto",
    "shoppingcart/persistence/domain.proto",
    "crdts/crdt-example.proto",
    "valueentity/shoppingcart/shoppingcart.proto",
    "valueentity/shoppingcart/persistence/domain.proto",
];

/// What the nodes of one cluster say to each other.
const INTERNAL: &[&str] = &["internal/membership.proto", "internal/remote.proto"];

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    compile("protocol", PROTOCOL, &out)?;
    compile("internal", INTERNAL, &out)?;
    if std::env::var_os("CARGO_FEATURE_MODEL").is_some() {
        compile("model", MODEL, &out)?;
    }
    for folder in ["cloudstate", "google", "internal", "shoppingcart", "crdts", "valueentity"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    Ok(())
}

fn compile(name: &str, files: &[&str], out: &Path) -> anyhow::Result<()> {
    let out = out.join(name);
    std::fs::create_dir_all(&out)?;
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(false).open_files(files)?;
    // As bytes and not as a message of prost's: that one knows no extensions and drops all options.
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let mut set = compiler.file_descriptor_set();
    if name == "model" {
        set.file.retain(|file| files.contains(&file.name()));
    }
    tonic_prost_build::configure()
        // The chat sample has a method `Connect`, which would clash with the generated constructor.
        .build_transport(false)
        .bytes(".")
        .extern_path(".google.protobuf.Any", "crate::Any")
        .out_dir(&out)
        .include_file("mod.rs")
        .compile_fds(set)?;
    Ok(())
}
