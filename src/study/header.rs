//! What a study is a study of: the attributes by which a search recognises its own file.

use serde_json::{Map, Value as Json};

use crate::space::{Parameter, Space};

/// The keys of the study attributes that make a study ours.
pub const SPACE: &str = "warpsweep:space";
pub const SETTINGS: &str = "warpsweep:settings";
pub const VERSION: &str = "warpsweep:version";

/// A study's name, its search space, and all settings on which its numbers depend.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub name: String,
    pub space: Space,
    pub settings: Map<String, Json>,
}

/// What two headers do not agree on, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: String,
    pub file: String,
    pub asked: String,
}

impl Header {
    /// The header that a study's attributes hold; what is missing otherwise.
    pub fn from_attributes(
        name: &str,
        attributes: &Map<String, Json>,
    ) -> Result<Header, &'static str> {
        let space = attributes.get(SPACE).ok_or("its attribute warpsweep:space")?;
        let settings = attributes.get(SETTINGS).and_then(Json::as_object);
        let settings = settings.ok_or("its attribute warpsweep:settings")?.clone();
        let space = serde_json::from_value(space.clone())
            .map_err(|_| "a search space that this version can read")?;
        Ok(Header { name: name.to_owned(), space, settings })
    }

    /// The first thing in which the header of a file differs from what is asked for.
    pub fn difference(&self, asked: &Header) -> Option<Difference> {
        self.space_difference(asked).or_else(|| self.settings_difference(asked))
    }

    fn space_difference(&self, asked: &Header) -> Option<Difference> {
        let (ours, theirs) = (self.space.parameters(), asked.space.parameters());
        let find = |among: &'_ [Parameter], name: &str| {
            among.iter().find(|parameter| parameter.name == name).cloned()
        };
        let names = ours.iter().chain(theirs).map(|parameter| parameter.name.as_str());
        for name in names {
            let (file, asked) = (find(ours, name), find(theirs, name));
            if file != asked {
                let [mut file_text, mut asked_text] = [&file, &asked].map(spelled);
                if file_text == asked_text {
                    // Different all the same: a number and the text that looks like it.
                    [file_text, asked_text] = [json(&file), json(&asked)];
                }
                let key = format!("parameter {name}");
                return Some(Difference { key, file: file_text, asked: asked_text });
            }
        }
        let order = |parameters: &[Parameter]| {
            let names: Vec<&str> =
                parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            names.join(", ")
        };
        let (file, asked) = (order(ours), order(theirs));
        let key = "the order of the parameters".to_owned();
        (file != asked).then_some(Difference { key, file, asked })
    }

    fn settings_difference(&self, asked: &Header) -> Option<Difference> {
        let (ours, theirs) = (&self.settings, &asked.settings);
        let key =
            ours.keys().chain(theirs.keys()).find(|key| ours.get(*key) != theirs.get(*key))?;
        let text = |value: Option<&Json>| match value {
            Some(Json::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "not set".into(),
        };
        let (file, asked) = (text(ours.get(key)), text(theirs.get(key)));
        Some(Difference { key: key.clone(), file, asked })
    }
}

fn spelled(parameter: &Option<Parameter>) -> String {
    match parameter {
        Some(Parameter { distribution, when: Some(condition), .. }) => {
            format!("{distribution} when {condition}")
        }
        Some(Parameter { distribution, .. }) => distribution.to_string(),
        None => "absent".into(),
    }
}

fn json(parameter: &Option<Parameter>) -> String {
    serde_json::to_string(parameter).unwrap_or_default()
}
