//! The `file_storage` extension: a folder for checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::components::{checked_id, refuse_known};
use crate::config::section::Section;

/// Folders by the id of the extension.
pub type Storages = BTreeMap<String, PathBuf>;

/// Where the Collector has it.
const DIRECTORY: &str = "/var/lib/otelcol/file_storage";

/// Reads `extensions`; every other extension is refused by its name.
pub fn read(mut section: Section<'_>) -> Storages {
    let mut storages = Storages::new();
    for (key, node) in section.take_rest() {
        let Some(kind) = checked_id(&mut section, &key) else { continue };
        if kind != "file_storage" {
            let message = format!(
                "the {kind} extension is not supported yet; leave it out, and out of service::extensions"
            );
            section.refuse(&key.name, Some(key.line), message);
            continue;
        }
        let path = section.path_of(&key.name);
        let mut problems = Vec::new();
        let mut storage = Section::new(&path, Some(node), &mut problems);
        let directory = PathBuf::from(storage.text("directory", DIRECTORY.to_owned()));
        let creates = storage.flag("create_directory", false);
        // Checkpoints are always synced.
        _ = storage.flag("fsync", true);
        refuse_known(&mut storage, &["timeout", "compaction", "recreate", "directory_permissions"]);
        if !creates && !directory.is_dir() {
            let message =
                format!("directory must exist: {}; create it, or set create_directory", directory.display());
            storage.refuse("directory", None, message);
        }
        storage.finish();
        section.extend(problems);
        storages.insert(key.name.trim().to_owned(), directory);
    }
    section.finish();
    storages
}
