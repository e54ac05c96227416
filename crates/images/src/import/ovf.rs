//! The disks that an OVF description names (DMTF DSP0243, sections 7.1 and 9.1).
//!
//! Wanted are two kinds of elements: `File` in `References` (`ovf:id`, `ovf:href`, `ovf:compression`), and `Disk` in
//! `DiskSection`, whose `ovf:fileRef` is such an id. So this is no XML reader but one of tags: prefixes are cut off, text
//! between tags, comments and CDATA sections are skipped, the five predefined entities are resolved, and a document type, with which
//! XML reaches other files or grows without bound, is refused. Bounds: [`MAX_BYTES`] of text, 100 000 tags.

/// Descriptions are a few tens of KiB.
pub const MAX_BYTES: u64 = 4 << 20;
const MAX_TAGS: usize = 100_000;

/// A disk's file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// Its name.
    pub href: String,
    /// Its compression as the description has it; the content says so, too.
    pub compression: Option<String>,
}

/// A description that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OvfError {
    /// A tag or comment does not end.
    #[error("it ends within a tag")]
    Unfinished,
    /// It has a document type.
    #[error("it has a document type, which an OVF has not")]
    DocumentType,
    /// It has more tags than any machine's description.
    #[error("it has too many tags")]
    TooLong,
}

/// The files of the disks in a description, in its order. A disk without a file is an empty one, and is left out.
///
/// # Errors
/// When the text is no description that can be read.
pub fn disks(text: &str) -> Result<Vec<DiskFile>, OvfError> {
    let mut files: Vec<(String, DiskFile)> = Vec::new();
    let mut wanted: Vec<String> = Vec::new();
    let mut rest = text;
    for _ in 0..MAX_TAGS {
        let Some(tag) = next_tag(&mut rest)? else {
            let found = wanted
                .iter()
                .filter_map(|id| files.iter().find(|(it, _)| it == id));
            return Ok(found.map(|(_, file)| file.clone()).collect());
        };
        match tag.name() {
            "File" => {
                if let Some((id, href)) = tag.attribute("id").zip(tag.attribute("href")) {
                    let compression = tag.attribute("compression").filter(|it| !it.is_empty());
                    files.push((id, DiskFile { href, compression }));
                }
            }
            "Disk" => wanted.extend(tag.attribute("fileRef")),
            _ => {}
        }
    }
    Err(OvfError::TooLong)
}

/// What stands between `<` and `>` of an opening tag.
#[derive(Debug, Clone, Copy)]
struct Tag<'t>(&'t str);

/// The next opening tag, and the text behind it.
fn next_tag<'t>(rest: &mut &'t str) -> Result<Option<Tag<'t>>, OvfError> {
    loop {
        let Some((_, after)) = rest.split_once('<') else {
            return Ok(None);
        };
        let skipped = [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>"), ("/", ">")];
        if let Some((start, end)) = skipped.iter().find(|(start, _)| after.starts_with(start)) {
            let body = after.get(start.len()..).unwrap_or_default();
            *rest = body.split_once(end).ok_or(OvfError::Unfinished)?.1;
            continue;
        }
        if after.starts_with('!') {
            return Err(OvfError::DocumentType);
        }
        let end = end_of_tag(after).ok_or(OvfError::Unfinished)?;
        *rest = after.get(end + 1..).unwrap_or_default();
        return Ok(Some(Tag(after.get(..end).unwrap_or_default())));
    }
}

/// A `>` within quotes is none.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

impl Tag<'_> {
    fn name(&self) -> &str {
        let end = self
            .0
            .find(|c: char| c.is_whitespace() || c == '/')
            .unwrap_or(self.0.len());
        without_prefix(self.0.get(..end).unwrap_or_default())
    }

    fn attribute(&self, wanted: &str) -> Option<String> {
        let mut rest = self.0.get(self.0.find(char::is_whitespace)?..)?;
        loop {
            let (name, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (value, after) = after.get(1..)?.split_once(quote)?;
            if without_prefix(name.trim()) == wanted {
                return Some(resolved(value));
            }
            rest = after;
        }
    }
}

fn without_prefix(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, name)| name)
}

/// With the predefined entities resolved, `&amp;` last.
fn resolved(value: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(value.to_owned(), |value, (entity, c)| value.replace(entity, c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OVF: &str = r#"<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <!-- <File ovf:id="no" ovf:href="comment"/> -->
  <References>
    <File ovf:href="a &amp; b-disk1.vmdk" ovf:id="file1" ovf:size="9"/>
    <File ovf:id='file2' ovf:href='extra.iso' ovf:note="a > b"/>
  </References>
  <DiskSection><Info><![CDATA[<Disk ovf:fileRef="file2"/>]]></Info>
    <Disk ovf:capacity="8" ovf:diskId="vmdisk1" ovf:fileRef="file1" />
    <Disk ovf:capacity="8" ovf:diskId="empty"/>
  </DiskSection>
</Envelope>"#;

    #[test]
    fn a_disk_leads_to_its_file() {
        let expected = DiskFile {
            href: "a & b-disk1.vmdk".to_owned(),
            compression: None,
        };
        assert_eq!(disks(OVF), Ok(vec![expected]));
    }

    #[test]
    fn what_reaches_beyond_the_text_is_refused() {
        let text = "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a/>";
        assert_eq!(disks(text), Err(OvfError::DocumentType));
        assert_eq!(disks("<File ovf:id=\"a"), Err(OvfError::Unfinished));
        assert_eq!(disks(&"<a>".repeat(MAX_TAGS + 1)), Err(OvfError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<!?[-/a-zA-Z:]{0,6}|File|Disk| ovf:(id|href|fileRef)=|[\"'><&;é]|CDATA|.){0,60}") {
            let _ = disks(&text);
        }

        #[test]
        fn a_name_comes_out_as_it_went_in(name in "[ -~é🏝]{1,40}") {
            let escaped = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
            let text = format!("<a:File id=\"f\" x:href=\"{escaped}\"/><Disk fileRef=\"f\"/>");
            let found = disks(&text).unwrap();
            prop_assert_eq!(found[0].href.as_str(), name);
        }
    }
}
