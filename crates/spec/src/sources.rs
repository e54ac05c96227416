//! Images and user-data as they are written: a text for the ordinary case, a mapping where more is to be said.

use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Report, Span};
use crate::image::{Checksum, Image, Sha256Hex, Sha512Hex, UserData, is_fetchable};
use crate::read::{FromYaml, Keys, Spot, bad_value, wrong_kind};
use crate::yaml::{Kind, Node};

impl FromYaml for Image {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, .. } => match text.parse() {
                Ok(Self::File { path, checksum }) => Some(Self::File {
                    path: report.files.rebase(&node.span, path),
                    checksum,
                }),
                Ok(image) => Some(image),
                Err(error) => {
                    report.push(bad_value(&node.span, what, &error));
                    None
                }
            },
            Kind::Map(_) => image_mapping(node, what, report),
            Kind::Null | Kind::List(_) => {
                wrong_kind(node, what, "a name, an https:// address or a path", report)
            }
        }
    }
}

fn image_mapping(node: &Node, what: &str, report: &mut Report) -> Option<Image> {
    let mut keys = Keys::of(node, what, report)?;
    let url = keys.take("url").and_then(|url| fetchable(url, what, keys.report));
    let path: Option<PathBuf> = keys.take("file");
    let sha256 = keys.take::<Sha256Hex>("sha256").map(Checksum::Sha256);
    let sha512 = keys.take::<Sha512Hex>("sha512").map(Checksum::Sha512);
    keys.exclude("url", "file");
    keys.exclude("sha256", "sha512");
    if keys.span("url").or(keys.span("file")).is_none() {
        let title = format!("{what} must say its url or its file");
        keys.report.push(Diagnostic::new(title, node.span.clone()));
    }
    keys.finish();
    let checksum = sha256.or(sha512);
    match (url, path) {
        (Some(url), _) => Some(Image::Url { url, checksum }),
        (None, Some(path)) => Some(Image::File { path, checksum }),
        (None, None) => None,
    }
}

fn fetchable(url: Spot<String>, what: &str, report: &mut Report) -> Option<String> {
    if is_fetchable(&url.value) {
        return Some(url.value);
    }
    let title = format!("{what}: {:?} is no http:// or https:// address", url.value);
    report.push(Diagnostic::new(title, url.span));
    None
}

/// User-data, and whether references in it are replaced.
#[derive(Clone, Debug)]
pub(crate) struct UserDataFile {
    pub(crate) data: UserData,
    pub(crate) is_template: bool,
    /// Where it stands.
    pub(crate) span: Span,
}

impl FromYaml for UserDataFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match &node.kind {
            // It is full of `$` that are the guest's.
            Kind::Scalar { text, .. } => Some(Self {
                data: UserData::Text(text.clone()),
                is_template: false,
                span: node.span.clone(),
            }),
            Kind::Map(_) => user_data_mapping(node, what, report),
            Kind::Null | Kind::List(_) => wrong_kind(node, what, "text or {file: PATH}", report),
        }
    }
}

fn user_data_mapping(node: &Node, what: &str, report: &mut Report) -> Option<UserDataFile> {
    let mut keys = Keys::of(node, what, report)?;
    let file: Option<PathBuf> = keys.take("file");
    let text = keys.take("text");
    let template = keys.take("template");
    keys.exclude("file", "text");
    if keys.span("file").or(keys.span("text")).is_none() {
        let diagnostic = Diagnostic::new(format!("{what} does not say its file"), node.span.clone());
        let hint = "write {file: PATH}, or the text itself after \"user-data: |\"".to_owned();
        keys.report.push(diagnostic.with_hint(hint));
    }
    keys.finish();
    let is_template = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "tmpl");
    let named_so = file.as_ref().is_some_and(is_template);
    let data = file.map(UserData::File).or(text.map(UserData::Text))?;
    Some(UserDataFile {
        data,
        is_template: template.unwrap_or(named_so),
        span: node.span.clone(),
    })
}
