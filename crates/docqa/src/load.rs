//! Documents from files: PDF, plain text, Markdown, and folders of them.

mod forms;
mod pdf;
mod quiet;
mod widths;

use std::collections::HashSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::DocqaError;

/// The kinds of files that can be read, for messages.
pub(crate) const KINDS: &str = "a .pdf, .txt, .text, .md or .markdown file";

/// One document, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The path as it was given (for a file in a folder: the folder's path and the file's within it).
    pub source: String,
    /// All of its text; the pages of a PDF file joined with a newline.
    pub text: String,
    /// Where each page begins; empty for text and Markdown.
    pub pages: Vec<PageStart>,
    /// Pages that could not be read. Their text is missing from `text`.
    pub skipped: Vec<SkippedPage>,
}

/// Where a page begins in [`Document::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStart {
    /// The page's number in the file, from 1.
    pub number: u32,
    /// The byte at which its text begins.
    pub start: usize,
}

/// A page that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPage {
    /// The page's number in the file, from 1.
    pub number: u32,
    /// What the parser said of it.
    pub reason: String,
}

impl Document {
    /// Joins pages, each with its number in the file, with a newline.
    fn from_pages(source: String, pages: Vec<(u32, String)>, skipped: Vec<SkippedPage>) -> Self {
        let mut text = String::new();
        let mut starts = Vec::with_capacity(pages.len());
        for (at, (number, page)) in pages.into_iter().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            starts.push(PageStart { number, start: text.len() });
            text.push_str(&page);
        }
        Self { source, text, pages: starts, skipped }
    }

    /// The page on which the byte at `offset` of the text stands; `None` for text without pages. The
    /// newline between two pages belongs to the first.
    pub fn page_at(&self, offset: usize) -> Option<u32> {
        let after = self.pages.partition_point(|page| page.start <= offset);
        after.checked_sub(1).map(|at| self.pages[at].number)
    }
}

/// A file's bytes, before they are parsed: enough to say whether an index of it is still good.
#[derive(Debug, Clone)]
pub struct SourceFile {
    path: PathBuf,
    kind: Kind,
    bytes: Vec<u8>,
    /// Why there are no bytes.
    unread: Option<io::ErrorKind>,
    /// Named by the user, so that a fault in it is an error; a file found in a folder is skipped.
    named: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pdf,
    Text,
}

/// What a run of [`parse`] made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The documents that have text, in the order of their files.
    pub documents: Vec<Document>,
    /// Files found in a folder that could not be read.
    pub skipped: Vec<SkippedFile>,
}

/// A file of a folder that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// The file's path.
    pub source: String,
    /// The whole message, which names the file.
    pub reason: String,
}

impl SkippedFile {
    pub(crate) fn new(file: &SourceFile, error: &DocqaError) -> Self {
        Self { source: file.source(), reason: error.to_string() }
    }

    /// One line that names the file and says why it was left out.
    pub fn notice(&self) -> String {
        format!("skipped: {}", self.reason)
    }
}

impl SkippedPage {
    /// One line that names the page of `source` and says why it was left out.
    pub fn notice(&self, source: &str) -> String {
        format!("{source}: skipped page {}, which cannot be read: {}", self.number, self.reason)
    }
}

impl Loaded {
    /// One line for each file and page that was left out.
    pub fn notices(&self) -> Vec<String> {
        let pages = self
            .documents
            .iter()
            .flat_map(|document| document.skipped.iter().map(|page| page.notice(&document.source)));
        self.skipped.iter().map(SkippedFile::notice).chain(pages).collect()
    }
}

impl SourceFile {
    /// The path as it was given or found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its document is called: the path. See [`FoundFile::source`].
    pub fn source(&self) -> String {
        name_of(&self.path)
    }

    /// The file's bytes; none where it was found and cannot be read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A file whose bytes are at hand, such as an upload. Its name says what kind it is and stands in messages; no
    /// file of that name is looked for.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, DocqaError> {
        let path = name.into();
        match kind_of_name(&path).or_else(|| pdf::has_header(&bytes).then_some(Kind::Pdf)) {
            Some(kind) => Ok(Self { path, kind, bytes, unread: None, named: true }),
            None => Err(DocqaError::UnknownKind { path }),
        }
    }
}

/// A file that is to be read.
#[derive(Debug, Clone)]
pub struct FoundFile {
    path: PathBuf,
    kind: Kind,
    named: bool,
}

impl FoundFile {
    /// The path as it was given or found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its document is called: the path, with bytes that are not UTF-8 as `\xff`, so that no two files go by one
    /// name.
    pub fn source(&self) -> String {
        name_of(&self.path)
    }

    /// Reads the whole file. One that was found in a folder and cannot be read, which may be gone by now, or another
    /// user's, is skipped when it is parsed.
    pub fn read(&self) -> Result<SourceFile, DocqaError> {
        let (bytes, unread) = match fs::read(&self.path) {
            Ok(bytes) => (bytes, None),
            Err(error) if self.named => return Err(DocqaError::reading(&self.path, error)),
            Err(error) => (Vec::new(), Some(error.kind())),
        };
        Ok(SourceFile { path: self.path.clone(), kind: self.kind, bytes, unread, named: self.named })
    }
}

/// A path as text, for each path another.
pub(crate) fn name_of(path: &Path) -> String {
    let mut name = String::new();
    for part in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        name.push_str(part.valid());
        for byte in part.invalid() {
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    name
}

/// Finds files and the files in folders. Folders are walked to any depth in the order of their names; hidden
/// files and files of other kinds are passed over. A file named twice is found once.
pub fn find(paths: &[PathBuf]) -> Result<Vec<FoundFile>, DocqaError> {
    if paths.is_empty() {
        return Err(DocqaError::NoPaths);
    }
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| DocqaError::reading(path, error))?;
        let named = !metadata.is_dir();
        let found = if named { vec![path.clone()] } else { walk(path)? };
        for path in found {
            if seen.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                // What was found has the name of its kind, or is a folder that cannot be looked into.
                let kind = if named { kind_of(&path)? } else { kind_of_name(&path).unwrap_or(Kind::Text) };
                files.push(FoundFile { path, kind, named });
            }
        }
    }
    Ok(files)
}

/// Finds and reads in one go: see [`find`].
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, DocqaError> {
    find(paths)?.iter().map(FoundFile::read).collect()
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>, DocqaError> {
    let mut found = Vec::new();
    let is_visible = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
    let entries = WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || is_visible(entry.file_name()));
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let kind = error.io_error().map_or(io::ErrorKind::Other, io::Error::kind);
                match error.path() {
                    // It is skipped when it is read, as a file would be.
                    Some(path) if error.depth() > 0 => found.push(path.to_path_buf()),
                    path => return Err(DocqaError::reading(path.unwrap_or(folder), kind.into())),
                }
                continue;
            }
        };
        // Asked of the path, not the entry, so that a link to a file counts as a file.
        if kind_of_name(entry.path()).is_some() && entry.path().is_file() {
            found.push(entry.into_path());
        }
    }
    if found.is_empty() { Err(DocqaError::EmptyFolder { path: folder.to_path_buf() }) } else { Ok(found) }
}

/// What a file is by its name or, where that says nothing, by its first bytes: it may be a PDF file under another
/// name.
fn kind_of(path: &Path) -> Result<Kind, DocqaError> {
    if let Some(kind) = kind_of_name(path) {
        return Ok(kind);
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(pdf::HEADER_WITHIN).read_to_end(&mut start))
        .map_err(|error| DocqaError::reading(path, error))?;
    if pdf::has_header(&start) { Ok(Kind::Pdf) } else { Err(DocqaError::UnknownKind { path: path.into() }) }
}

fn kind_of_name(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "pdf" => Some(Kind::Pdf),
        "txt" | "text" | "md" | "markdown" => Some(Kind::Text),
        _ => None,
    }
}

/// Makes documents of files. A file that the user named must have text; one found in a folder that has
/// none, or that is damaged, is skipped with a notice, unless no document is left.
pub fn parse(files: &[SourceFile]) -> Result<Loaded, DocqaError> {
    let mut loaded = Loaded::default();
    let mut first_error = None;
    for file in files {
        match parse_or_skip(file)? {
            Ok(document) => loaded.documents.push(document),
            Err(error) => {
                loaded.skipped.push(SkippedFile::new(file, &error));
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if loaded.documents.is_empty() => Err(error),
        _ => Ok(loaded),
    }
}

/// Reads and parses in one go.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, DocqaError> {
    parse(&read(paths)?)
}

/// Makes a document of a file. The outer error is that of a file which the user named, the inner one of a file which was
/// found in a folder and is to be skipped.
pub(crate) fn parse_or_skip(file: &SourceFile) -> Result<Result<Document, DocqaError>, DocqaError> {
    match parse_file(file) {
        Err(error) if file.named => Err(error),
        done => Ok(done),
    }
}

fn parse_file(file: &SourceFile) -> Result<Document, DocqaError> {
    let path = || file.path.clone();
    if let Some(kind) = file.unread {
        return Err(DocqaError::reading(&file.path, kind.into()));
    }
    if file.bytes.is_empty() {
        return Err(DocqaError::EmptyFile { path: path() });
    }
    let source = file.source();
    let document = match file.kind {
        Kind::Pdf => pdf::parse(&file.path, source, &file.bytes)?,
        Kind::Text => {
            // A byte order mark belongs to the encoding, not to the text.
            let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
            let text = std::str::from_utf8(bytes).map_err(|error| DocqaError::NotUtf8 {
                path: path(),
                offset: error.valid_up_to() + (file.bytes.len() - bytes.len()),
            })?;
            Document { source, text: text.to_string(), pages: Vec::new(), skipped: Vec::new() }
        }
    };
    if document.text.chars().all(crate::split::is_python_space) {
        return Err(DocqaError::Blank { path: path() });
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdf(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/goldens/pdf").join(name)
    }

    fn error_of(path: &Path) -> String {
        let error = load(&[path.to_path_buf()]).unwrap_err();
        assert!(error.is_input_error(), "{error:?}");
        let message = error.to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(!message.contains('\n'), "{message}");
        message[path.display().to_string().len()..].to_string()
    }

    fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn each_fault_of_a_file_has_its_own_message() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(error_of(&folder.join("none.pdf")), ": no such file or folder");
        assert!(error_of(&pdf("encrypted.pdf")).starts_with(": the PDF file is encrypted"));
        assert_eq!(error_of(&pdf("empty.pdf")), ": the file is empty");
        assert!(error_of(&pdf("scanned.pdf")).starts_with(": no text layer on its only page"));
        assert_eq!(error_of(&pdf("no_pages.pdf")), ": the PDF file has no pages");

        let mut state = 12345_u32;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 24) as u8
        })
        .take(5000)
        .collect();
        let path = write(folder, "random.pdf", &random);
        assert_eq!(error_of(&path), ": not a PDF file (it does not begin with %PDF-)");
        let path = write(folder, "half_random.pdf", &[b"%PDF-1.7\n".as_slice(), &random].concat());
        assert!(error_of(&path).starts_with(": the PDF file is corrupt: "));

        let whole = fs::read(pdf("ligatures.pdf")).unwrap();
        let path = write(folder, "cut.pdf", &whole[..whole.len() / 2]);
        assert!(error_of(&path).starts_with(": the PDF file is corrupt: "));

        let path = write(folder, "latin1.txt", b"caf\xe9");
        assert_eq!(error_of(&path), ": not UTF-8 text (byte 3)");
        let path = write(folder, "blank.md", "\n\u{a0} \n".as_bytes());
        assert_eq!(error_of(&path), ": there is no text in it");
        let path = write(folder, "picture.png", b"\x89PNG");
        assert!(error_of(&path).starts_with(": not a kind of document that can be read; expected a .pdf,"));
        fs::create_dir(folder.join("hollow")).unwrap();
        assert!(error_of(&folder.join("hollow")).starts_with(": no document in this folder"));
        assert_eq!(load(&[]).unwrap_err().to_string(), "no document was named");
    }

    #[test]
    fn a_page_that_fails_is_named_and_skipped() {
        let loaded = load(&[pdf("broken_page3.pdf")]).unwrap();
        let [document] = loaded.documents.as_slice() else { panic!("one document expected") };
        let numbers: Vec<u32> = document.pages.iter().map(|page| page.number).collect();
        assert_eq!(numbers, [1, 2, 4, 5]);
        assert_eq!(document.skipped.len(), 1);
        assert_eq!(document.skipped[0].number, 3);
        assert!(document.skipped[0].reason.contains("KilnGlazeEncoding"), "{:?}", document.skipped);
        let notices = loaded.notices();
        assert_eq!(notices.len(), 1);
        assert!(
            notices[0].contains("broken_page3.pdf: skipped page 3, which cannot be read: "),
            "{notices:?}"
        );

        let at = document.text.find("The fourth page").unwrap();
        assert_eq!(document.page_at(at), Some(4));
        assert_eq!(document.page_at(0), Some(1));
        assert_eq!(document.page_at(document.text.len()), Some(5));
    }

    #[test]
    fn a_file_locked_by_its_owner_alone_can_be_read() {
        let loaded = load(&[pdf("owner_locked.pdf")]).unwrap();
        assert!(loaded.documents[0].text.contains("it opens without a password"));
    }

    #[test]
    fn the_words_of_a_pdf_file_are_mended() {
        let golden: serde_json::Value =
            serde_json::from_slice(&fs::read(pdf("expected.json")).unwrap()).unwrap();
        let loaded = load(&[pdf("ligatures.pdf")]).unwrap();
        let text = loaded.documents[0].text.split_whitespace().collect::<Vec<_>>().join(" ");
        let start = golden["ligatures.pdf"]["mended_start"].as_str().unwrap();
        assert!(text.starts_with(start), "{text}");
        assert!(loaded.documents[0].text.contains("The office printed ResNet-\n50 on the cover - and"));
    }

    #[test]
    fn glyph_widths_given_as_ranges_are_understood() {
        let golden: serde_json::Value =
            serde_json::from_slice(&fs::read(pdf("expected.json")).unwrap()).unwrap();
        let lines: Vec<&str> = golden["width_ranges.pdf"]["lines"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|l| l.as_str())
            .collect();
        let loaded = load(&[pdf("width_ranges.pdf")]).unwrap();
        let got: Vec<&str> =
            loaded.documents[0].text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(got, lines);
    }

    #[test]
    fn text_and_markdown_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let text = "ﬁrst convo-\nlution\r\n\u{a0}end ";
        for name in ["a.txt", "b.md", "c.MARKDOWN"] {
            let path = write(folder.path(), name, text.as_bytes());
            let document = load(std::slice::from_ref(&path)).unwrap().documents.remove(0);
            assert_eq!(document.text, text);
            assert_eq!(document.source, path.display().to_string());
            assert_eq!(document.page_at(0), None);
        }
        let path = write(folder.path(), "bom.txt", b"\xef\xbb\xbftext");
        assert_eq!(load(&[path]).unwrap().documents[0].text, "text");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        for byte in [0xfe, 0xff] {
            let name = [b"n\xc3\xb6-".as_slice(), &[byte], b".txt"].concat();
            fs::write(folder.path().join(std::ffi::OsStr::from_bytes(&name)), format!("text {byte}"))
                .unwrap();
        }
        let loaded = load(&[folder.path().to_path_buf()]).unwrap();
        let sources: Vec<&str> = loaded.documents.iter().map(|document| document.source.as_str()).collect();
        assert!(
            sources[0].ends_with("/nö-\\xfe.txt") && sources[1].ends_with("/nö-\\xff.txt"),
            "{sources:?}"
        );
    }

    #[test]
    fn what_cannot_be_read_in_a_folder_is_skipped_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "gone.txt", b"text");
        write(folder.path(), "here.txt", b"text");
        let found = find(&[folder.path().to_path_buf()]).unwrap();
        let named = find(std::slice::from_ref(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let files: Vec<SourceFile> = found.iter().map(|file| file.read().unwrap()).collect();
        let loaded = parse(&files).unwrap();
        assert_eq!(loaded.documents.len(), 1);
        let notices = loaded.notices();
        assert!(
            notices.len() == 1 && notices[0].ends_with("gone.txt: no such file or folder"),
            "{notices:?}"
        );
        assert!(named[0].read().unwrap_err().to_string().ends_with("gone.txt: no such file or folder"));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_looked_into_is_skipped() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "here.txt", b"text");
        let shut = write(folder.path(), "shut/away.txt", b"text").parent().unwrap().to_path_buf();
        let allow = |mode| fs::set_permissions(&shut, fs::Permissions::from_mode(mode)).unwrap();
        allow(0o000);
        // Nothing is shut to root.
        let is_shut = fs::read_dir(&shut).is_err();
        let loaded = load(&[folder.path().to_path_buf()]);
        allow(0o700);
        let loaded = loaded.unwrap();
        assert_eq!(loaded.documents.len(), if is_shut { 1 } else { 2 });
        assert_eq!(loaded.notices().len(), usize::from(is_shut));
    }

    #[test]
    fn a_folder_is_read_in_order_and_bad_files_in_it_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "b.txt", b"second");
        write(folder, "a/z.md", b"first");
        write(folder, "c.txt", b"");
        write(folder, "d.pdf", b"no pdf");
        write(folder, "e.jpg", b"picture");
        write(folder, ".hidden/f.txt", b"hidden");
        let again = folder.join("b.txt");
        let loaded = load(&[folder.to_path_buf(), again]).unwrap();
        let texts: Vec<&str> = loaded.documents.iter().map(|d| d.text.as_str()).collect();
        assert_eq!(texts, ["first", "second"]);
        let notices = loaded.notices();
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[0].starts_with("skipped: ") && notices[0].ends_with("c.txt: the file is empty"));
        assert!(notices[1].contains("d.pdf: not a PDF file"));

        fs::remove_file(folder.join("b.txt")).unwrap();
        fs::remove_dir_all(folder.join("a")).unwrap();
        assert!(load(&[folder.to_path_buf()]).unwrap_err().to_string().ends_with("c.txt: the file is empty"));
    }
}
