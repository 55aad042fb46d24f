//! Tools by their own names: the binary, run through a link with the name of a tool, is that tool.

use std::ffi::OsString;
use std::path::Path;

/// The tools, each of which is also a verb.
const TOOLS: [&str; 2] = ["micro", "seaport"];

/// Returns the arguments of this process. If its name is that of a tool, the verb is inserted.
pub(super) fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.into_iter().collect();
    let name = given.first().and_then(|first| Path::new(first).file_name());
    if let Some(tool) = TOOLS.into_iter().find(|tool| name.is_some_and(|name| name == *tool)) {
        given.insert(1, tool.into());
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_name_is_a_verb() {
        let of = |given: &[&str]| {
            let arguments = arguments(given.iter().map(OsString::from));
            arguments.iter().map(|one| one.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&["/usr/bin/micro", "list", "services"]), "/usr/bin/micro micro list services");
        assert_eq!(of(&["micro"]), "micro micro");
        assert_eq!(of(&["/opt/micro/skyhound", "micro"]), "/opt/micro/skyhound micro");
        assert_eq!(of(&[]), "");
    }
}
