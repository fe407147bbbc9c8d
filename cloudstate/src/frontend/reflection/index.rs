//! Which file a symbol is in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use prost_reflect::DescriptorPool;
use tonic_reflection::pb::{v1, v1alpha};

use crate::spec::{RawFile, ServedSpec};

/// The files and symbols of a specification, and those of the reflection protocol itself.
pub(in crate::frontend) struct ReflectionIndex {
    services: Vec<Arc<str>>,
    files: Vec<RawFile>,
    by_name: HashMap<Arc<str>, usize>,
    pools: Vec<DescriptorPool>,
}

impl ReflectionIndex {
    pub(in crate::frontend) fn new(spec: &ServedSpec) -> Self {
        let mut services: Vec<_> = spec.services.iter().map(|service| service.name.clone()).collect();
        services.sort();
        let mut files = spec.files.clone();
        let mut pools = vec![spec.pool.clone()];
        for own in [v1alpha::FILE_DESCRIPTOR_SET, v1::FILE_DESCRIPTOR_SET] {
            // Both are constants that decode; without them reflection merely does not describe itself.
            if let (Ok(own_files), Ok(pool)) =
                (RawFile::parse_set(&Bytes::from_static(own)), DescriptorPool::decode(own))
            {
                files.extend(own_files);
                pools.push(pool);
            }
        }
        let by_name = files.iter().enumerate().rev().map(|(at, file)| (file.name.clone(), at)).collect();
        Self { services, files, by_name, pools }
    }

    /// The served services, sorted.
    pub(super) fn services(&self) -> &[Arc<str>] {
        &self.services
    }

    pub(super) fn file(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The file with the message, enum, extension, service or method of this full name.
    pub(super) fn file_of_symbol(&self, symbol: &str) -> Option<usize> {
        let file = self.pools.iter().find_map(|pool| file_in(pool, symbol))?;
        self.file(&file)
    }

    pub(super) fn file_of_extension(&self, message: &str, number: u32) -> Option<usize> {
        let file = self.pools.iter().find_map(|pool| {
            let extension = pool.get_message_by_name(message)?.get_extension(number)?;
            Some(extension.parent_file().name().to_owned())
        })?;
        self.file(&file)
    }

    /// The numbers of all known extensions of a message; `None` when there is no such message.
    pub(super) fn extension_numbers(&self, message: &str) -> Option<Vec<u32>> {
        let message = self.pools.iter().find_map(|pool| pool.get_message_by_name(message))?;
        let mut numbers: Vec<_> = message.extensions().map(|extension| extension.number()).collect();
        numbers.sort_unstable();
        Some(numbers)
    }

    pub(super) fn bytes(&self, file: usize) -> Bytes {
        self.files[file].bytes.clone()
    }

    /// `file` and everything that it imports, itself first.
    pub(super) fn with_imports(&self, file: usize) -> Vec<Bytes> {
        let mut seen = HashSet::from([file]);
        let mut order = vec![file];
        let mut next = 0;
        while let Some(&at) = order.get(next) {
            let imports = self.files[at].dependencies.iter().filter_map(|name| self.file(name));
            order.extend(imports.filter(|import| seen.insert(*import)));
            next += 1;
        }
        order.into_iter().map(|at| self.bytes(at)).collect()
    }
}

fn file_in(pool: &DescriptorPool, symbol: &str) -> Option<String> {
    let file = if let Some(message) = pool.get_message_by_name(symbol) {
        message.parent_file()
    } else if let Some(service) = pool.get_service_by_name(symbol) {
        service.parent_file()
    } else if let Some(values) = pool.get_enum_by_name(symbol) {
        values.parent_file()
    } else if let Some(extension) = pool.get_extension_by_name(symbol) {
        extension.parent_file()
    } else {
        let (service, method) = symbol.rsplit_once('.')?;
        let service = pool.get_service_by_name(service)?;
        service.methods().find(|known| known.name() == method)?.parent_file()
    };
    Some(file.name().to_owned())
}
