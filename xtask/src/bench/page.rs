//! The page of the benchmarks: sections that are measured anew take the place of those that were there.

/// What is written by hand below a section begins with this line, and stays.
const NOTES: &str = "### What limits it";

/// The page with these sections, each a heading and what stands below it. Others stay as they are.
pub(super) fn updated(page: &str, sections: &[(&str, String)]) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            parts.push((heading.to_owned(), String::new()));
        } else {
            if parts.is_empty() {
                parts.push((String::new(), String::new()));
            }
            if let Some((_, text)) = parts.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    for (heading, body) in sections {
        match parts.iter_mut().find(|(known, _)| known == heading) {
            Some((_, text)) => {
                let notes = text.find(NOTES).map_or(String::new(), |at| format!("\n{}\n", text[at..].trim_end()));
                *text = format!("\n{}\n{notes}\n", body.trim_end());
            }
            None => parts.push(((*heading).to_owned(), format!("\n{}\n\n", body.trim_end()))),
        }
    }
    let mut whole = String::new();
    for (heading, text) in &parts {
        if !heading.is_empty() {
            whole = format!("{}\n\n## {heading}\n", whole.trim_end());
        }
        whole.push_str(text);
    }
    format!("{}\n", whole.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_what_was_written_by_hand_stays() {
        let page = "# Page\n\nWords.\n\n## A\n\nold\n\n### What limits it\n\nthe disc\n\n## B\n\nstays\n";
        let updated = updated(page, &[("A", "new\n".into()), ("C", "more".into())]);
        let wanted =
            "# Page\n\nWords.\n\n## A\n\nnew\n\n### What limits it\n\nthe disc\n\n## B\n\nstays\n\n## C\n\nmore\n";
        assert_eq!(updated, wanted);
    }
}
