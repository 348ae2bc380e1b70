//! From a folder of shaders to a checked catalogue.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::{
    check::{self, Checked},
    diagnostic::{Diagnostic, SourceFile},
    generate,
    header::{Header, Row, Subgroups},
    join::{self, Joined, Part},
    lint::{self, Subject},
    reflect::{self, Interface},
    translate,
};

/// Why a folder of shaders did not become a catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A folder or a file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Shaders are wrong; each diagnostic says where.
    #[error("{}", report(.0))]
    Shaders(Vec<Diagnostic>),
}

fn report(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        write!(text, "{diagnostic}\n\n").expect("writing to a String should not fail");
    }
    write!(text, "{} found in the shaders", count(diagnostics.len(), "error"))
        .expect("writing to a String should not fail");
    text
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Every shader of a folder, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    shaders: Vec<Shader>,
}

impl Catalogue {
    /// The shaders, by name.
    pub fn shaders(&self) -> &[Shader] {
        &self.shaders
    }

    /// The Rust source that `kiln-kernels` includes: `ALL`, and a module for each shader.
    pub fn rust(&self) -> String {
        generate::generate(&self.shaders)
    }
}

/// One shader with all its variants.
#[derive(Debug, Clone, PartialEq)]
pub struct Shader {
    pub(crate) name: String,
    pub(crate) prose: Vec<String>,
    pub(crate) f16: bool,
    pub(crate) subgroups: Option<Subgroups>,
    /// The keys that its rows set.
    pub(crate) keys: Vec<String>,
    pub(crate) interface: Interface,
    pub(crate) variants: Vec<Variant>,
}

impl Shader {
    /// The file's stem.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variants, in the order of the header.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }
}

/// One row of a shader.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) workgroup_size: [u32; 3],
    pub(crate) workgroup_memory: u32,
    /// Whether it computes with 64-bit integers.
    pub(crate) int64: bool,
    pub(crate) constants: Vec<(String, f64)>,
    /// What the row says.
    pub(crate) settings: Vec<(String, String)>,
    /// For each key of the shader, its value here where that is a whole number.
    pub(crate) values: BTreeMap<String, u32>,
}

impl Variant {
    /// The row's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The joined WGSL.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The whole number that `key` has here, set by the row or by default.
    pub fn value(&self, key: &str) -> Option<u32> {
        self.values.get(key).copied()
    }
}

/// Reads, joins, checks and reflects every `*.wgsl` of `dir`, with the libraries in `dir/lib`.
///
/// All shaders are looked at before it returns, so one run tells everything that is wrong.
pub fn compile(dir: &Path) -> Result<Catalogue, CatalogueError> {
    let mut found = Vec::new();
    let lib = dir.join("lib");
    let libs = if lib.exists() { Folder::read(&lib, &mut found)? } else { Folder::default() };
    let shaders = Folder::read(dir, &mut found)?;
    orphans(&shaders, &libs, &mut found);
    let mut sound = Vec::new();
    for part in &shaders.parts {
        match shader(part, &libs) {
            Ok(shader) => sound.push(shader),
            Err(diagnostics) => found.extend(diagnostics),
        }
    }
    if found.is_empty() { Ok(Catalogue { shaders: sound }) } else { Err(CatalogueError::Shaders(found)) }
}

/// The `*.wgsl` files of one folder.
#[derive(Default)]
struct Folder {
    /// Those whose headers are sound, by name.
    parts: Vec<Part>,
    /// The stems of the others, which have been reported.
    broken: Vec<String>,
    /// Folders within.
    folders: Vec<PathBuf>,
}

impl Folder {
    fn read(dir: &Path, found: &mut Vec<Diagnostic>) -> Result<Self, CatalogueError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| CatalogueError::Read { path, source }
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed(dir))? {
            paths.push(entry.map_err(failed(dir))?.path());
        }
        // The order of a folder is the file system's; that of the catalogue is not.
        paths.sort();
        let mut folder = Self::default();
        for path in paths {
            if path.is_dir() {
                folder.folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "wgsl") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let file = Rc::new(SourceFile { path: path.display().to_string(), text });
            match Header::parse(&file, &stem) {
                Ok(header) => folder.parts.push(Part { file, header }),
                Err(diagnostics) => {
                    found.extend(diagnostics);
                    folder.broken.push(stem);
                }
            }
        }
        Ok(folder)
    }
}

/// Finds files that no row of the catalogue reaches: they would rot unseen.
fn orphans(shaders: &Folder, libs: &Folder, found: &mut Vec<Diagnostic>) {
    for part in shaders.parts.iter().filter(|part| part.header.rows.is_empty()) {
        found.push(
            Diagnostic::new("the shader is in no row of the catalogue: its header has no `variants:` rows")
                .at(part.file.mark_line(1, ""))
                .note("a shader without variation has one row, `base`"),
        );
    }
    for lib in &libs.parts {
        let header = &lib.header;
        // A shader with a broken header may be its user.
        let is_used =
            shaders.parts.iter().any(|part| part.header.uses.iter().any(|uses| uses.word == header.name));
        if !is_used && shaders.broken.is_empty() {
            found.push(Diagnostic::new("no shader uses this library").at(lib.file.mark_line(1, "")));
        }
        let lines = header.uses.iter().chain(&header.enables).map(|word| word.line);
        let lines = lines.chain(header.subgroups.map(|(_, line)| line));
        if let Some(line) = lines.chain(header.rows.iter().map(|row| row.line)).next() {
            found.push(
                Diagnostic::new(
                    "a library has neither `uses:` nor `enables:` nor `subgroups:` nor `variants:`",
                )
                .at(lib.file.mark_line(line, "these belong to the shaders that use it")),
            );
        }
    }
    let strays = shaders.folders.iter().filter(|path| path.file_name().is_none_or(|name| name != "lib"));
    for path in strays.chain(&libs.folders) {
        found.push(Diagnostic::new(format!(
            "{}: shaders stand in shaders/ and shaders/lib/, in no other folder",
            path.display()
        )));
    }
}

/// Checks every row of one shader.
fn shader(part: &Part, libs: &Folder) -> Result<Shader, Vec<Diagnostic>> {
    let header = &part.header;
    let mut found = Vec::new();
    let mut used = Vec::new();
    for uses in &header.uses {
        match libs.parts.iter().find(|lib| lib.header.name == uses.word) {
            Some(lib) => used.push(lib),
            // Reported already; without it the shader cannot be judged.
            None if libs.broken.contains(&uses.word) => return Err(found),
            None => found.push(
                Diagnostic::new(format!("`uses:` names `{0}`, but there is no lib/{0}.wgsl", uses.word))
                    .at(part.file.mark_line(uses.line, "")),
            ),
        }
    }
    if part.file.text.lines().skip(header.lines).all(|line| line.trim().is_empty()) {
        found.push(
            Diagnostic::new("nothing follows the header")
                .at(part.file.mark_line(header.lines, "the shader ends here")),
        );
    }
    if !found.is_empty() {
        return Err(found);
    }
    let mut rows = Vec::new();
    for row in &header.rows {
        match self::row(part, &used, row) {
            Ok(checked) => rows.push((row, checked)),
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    if !found.iter().any(|other: &Diagnostic| other.same_place(&diagnostic)) {
                        found.push(diagnostic.note(format!("in variant `{}`", row.name)));
                    }
                }
            }
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let keys = join::keys(header);
    let mut interface = None;
    let mut variants = Vec::new();
    for (row, (joined, checked)) in rows {
        let this = reflect::interface(&joined, &checked.module, &keys)?;
        if *interface.get_or_insert_with(|| this.clone()) != this {
            return Err(vec![
                Diagnostic::new(format!(
                    "variant `{}` has other parameters, bindings or overrides",
                    row.name
                ))
                .at(part.file.mark_line(row.line, ""))
                .note("the variants of a shader share one interface"),
            ]);
        }
        variants.push(variant(row, joined, &checked));
    }
    // Without a row there is nothing to catalogue; that has been reported.
    let Some(interface) = interface else { return Err(found) };
    Ok(Shader {
        name: header.name.clone(),
        prose: header.prose.clone(),
        f16: header.enables("f16"),
        subgroups: header.subgroups.map(|(subgroups, _)| subgroups),
        keys: keys.into_iter().map(str::to_string).collect(),
        interface,
        variants,
    })
}

fn row(part: &Part, libs: &[&Part], row: &Row) -> Result<(Joined, Checked), Vec<Diagnostic>> {
    let joined = Joined::new(part, libs, row)?;
    let checked = check::check(&joined, &part.header).map_err(|diagnostic| vec![diagnostic])?;
    let mut found = lint::run(&Subject { joined: &joined, checked: &checked });
    found.extend(translate::translate(&checked).into_iter().map(|diagnostic| diagnostic.or_in(&part.file)));
    if found.is_empty() { Ok((joined, checked)) } else { Err(found) }
}

fn variant(row: &Row, joined: Joined, checked: &Checked) -> Variant {
    let entry = &checked.resolved.entry_points[0];
    Variant {
        name: row.name.clone(),
        workgroup_size: entry.workgroup_size,
        workgroup_memory: reflect::workgroup_memory(checked),
        int64: reflect::int64(checked),
        constants: joined.constants,
        settings: row.settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect(),
        values: joined
            .values
            .into_iter()
            .filter_map(|(key, value)| Some((key, join::integer(value.as_deref()?)?)))
            .collect(),
        source: joined.text,
    }
}

#[cfg(test)]
mod tests;
