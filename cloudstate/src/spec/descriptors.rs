//! The descriptor set of a specification: any order, duplicates, files nobody imports.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::DescriptorPool;

use super::any_values;
use super::error::SpecError;
use super::wire::{Fields, WireValue};

const FILE: u32 = 1;
const FILE_NAME: u32 = 1;
const FILE_PACKAGE: u32 = 2;
const FILE_DEPENDENCY: u32 = 3;
const FILE_SERVICE: u32 = 6;
const FILE_SYNTAX: u32 = 12;
const SERVICE_NAME: u32 = 1;

/// One file of the descriptor set, as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFile {
    /// The name by which others import it.
    pub name: Arc<str>,
    /// Its package; may be empty.
    pub package: Arc<str>,
    /// The names of the files that it imports.
    pub dependencies: Vec<Arc<str>>,
    /// Bare names of the services in it.
    pub services: Vec<Arc<str>>,
    /// `proto3`, or `proto2` when it does not say.
    pub syntax: Arc<str>,
    /// The serialised `google.protobuf.FileDescriptorProto`.
    pub bytes: Bytes,
}

impl RawFile {
    /// The files of the serialised `google.protobuf.FileDescriptorSet` `set`, the first of each name.
    ///
    /// # Errors
    /// [`SpecError::NoDescriptorSet`] when it is none.
    pub fn parse_set(set: &Bytes) -> Result<Vec<RawFile>, SpecError> {
        parse(set)
    }
}

/// The messages of the serialised `google.protobuf.FileDescriptorSet` `set`, which holds all that it imports, and those of
/// the protocol's primitive values.
///
/// # Errors
/// When `set` is none, or contradicts itself.
pub fn pool_of(set: &Bytes) -> Result<DescriptorPool, SpecError> {
    let files = link(parse(set)?)?;
    build(&files).map_err(|reason| SpecError::Unlinkable { reason })
}

/// The files of `set`, the first of each name.
pub(super) fn parse(set: &Bytes) -> Result<Vec<RawFile>, SpecError> {
    let no_set = |reason: String| SpecError::NoDescriptorSet { reason };
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for bytes in Fields::new(set).all_bytes(FILE).map_err(|e| no_set(e.to_string()))? {
        let file = parse_file(set.slice_ref(bytes)).map_err(no_set)?;
        if seen.insert(file.name.clone()) {
            files.push(file);
        }
    }
    Ok(files)
}

/// `files` with every file after those that it imports.
pub(super) fn link(files: Vec<RawFile>) -> Result<Vec<RawFile>, SpecError> {
    let index: HashMap<Arc<str>, usize> = files.iter().enumerate().map(|(at, file)| (file.name.clone(), at)).collect();
    let mut done = vec![false; files.len()];
    let mut order = Vec::with_capacity(files.len());
    // A walk with a stack of its own: a hostile set must not be able to overflow the thread's.
    for root in 0..files.len() {
        let mut path: Vec<(usize, usize)> = if done[root] { vec![] } else { vec![(root, 0)] };
        let mut on_path: HashSet<usize> = path.iter().map(|step| step.0).collect();
        while let Some((at, next)) = path.last_mut() {
            let file = &files[*at];
            let Some(dependency) = file.dependencies.get(*next) else {
                done[*at] = true;
                order.push(*at);
                on_path.remove(at);
                path.pop();
                continue;
            };
            *next += 1;
            let names = |path: &[(usize, usize)]| {
                path.iter().rev().map(|step| files[step.0].name.to_string()).collect::<Vec<_>>()
            };
            let Some(&imported) = index.get(dependency) else {
                return Err(SpecError::MissingDependency { dependency: dependency.to_string(), path: names(&path) });
            };
            if on_path.contains(&imported) {
                let mut circle = vec![files[imported].name.to_string()];
                circle.extend(names(&path));
                return Err(SpecError::CircularDependency { path: circle });
            }
            if !done[imported] {
                on_path.insert(imported);
                path.push((imported, 0));
            }
        }
    }
    let mut files: Vec<Option<RawFile>> = files.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| files[at].take()).collect())
}

/// A pool of `files`, which are in import order, and the files that are in it.
///
/// When the whole set contradicts itself, those files count that the served `services` need: a set
/// often holds more than one copy of a well-known file under different names.
pub(super) fn pool(
    files: Vec<RawFile>,
    services: &[&str],
) -> Result<(DescriptorPool, Vec<RawFile>, Option<String>), SpecError> {
    let whole = match build(&files) {
        Ok(pool) => return Ok((pool, files, None)),
        Err(reason) => reason,
    };
    let needed = needed(&files, services);
    let files: Vec<_> = files.into_iter().filter(|file| needed.contains(&file.name)).collect();
    match build(&files) {
        Ok(pool) => {
            let warning = format!("only the descriptors that served services need are used: {whole}");
            Ok((pool, files, Some(warning)))
        }
        Err(reason) => Err(SpecError::Unlinkable { reason }),
    }
}

/// `files` as one serialised `google.protobuf.FileDescriptorSet`.
pub(super) fn encode(files: &[RawFile]) -> Bytes {
    let mut set = BytesMut::new();
    for file in files {
        encode_key(FILE, WireType::LengthDelimited, &mut set);
        encode_varint(file.bytes.len() as u64, &mut set);
        set.put_slice(&file.bytes);
    }
    set.freeze()
}

fn build(files: &[RawFile]) -> Result<DescriptorPool, String> {
    if let Some(file) = files.iter().find(|file| !["", "proto2", "proto3"].contains(&&*file.syntax)) {
        let RawFile { name, syntax, .. } = file;
        return Err(format!("file [{name}] has the syntax [{syntax}]; write it in proto2 or proto3"));
    }
    let mut pool = DescriptorPool::new();
    pool.decode_file_descriptor_set(encode(files)).map_err(|error| error.to_string())?;
    any_values::add_to(&mut pool);
    Ok(pool)
}

fn needed(files: &[RawFile], services: &[&str]) -> HashSet<Arc<str>> {
    let mut needed: HashSet<Arc<str>> = files
        .iter()
        .filter(|file| {
            let full_name = |service: &Arc<str>| match &*file.package {
                "" => service.to_string(),
                package => format!("{package}.{service}"),
            };
            file.services.iter().map(full_name).any(|name| services.contains(&name.as_str()))
        })
        .map(|file| file.name.clone())
        .collect();
    // Imports come before their importers, so one walk backwards finds them all.
    for file in files.iter().rev() {
        if needed.contains(&file.name) {
            needed.extend(file.dependencies.iter().cloned());
        }
    }
    needed
}

fn parse_file(bytes: Bytes) -> Result<RawFile, String> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(Arc::<str>::from).map_err(|error| error.to_string());
    let mut name = None;
    let mut package: Arc<str> = "".into();
    let mut dependencies = Vec::new();
    let mut services = Vec::new();
    let mut syntax: Arc<str> = "proto2".into();
    let mut fields = Fields::new(&bytes);
    while let Some((number, value)) = fields.next_field().map_err(|error| error.to_string())? {
        let WireValue::Bytes(value) = value else {
            continue;
        };
        match number {
            FILE_NAME => name = Some(text(value)?),
            FILE_PACKAGE => package = text(value)?,
            FILE_SYNTAX => syntax = text(value)?,
            FILE_DEPENDENCY => dependencies.push(text(value)?),
            FILE_SERVICE => {
                let names = Fields::new(value).all_bytes(SERVICE_NAME).map_err(|e| e.to_string())?;
                services.push(text(names.last().copied().unwrap_or_default())?);
            }
            _ => {}
        }
    }
    let name = name.ok_or("a file has no name")?;
    Ok(RawFile { name, package, dependencies, services, syntax, bytes })
}
