use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::command::Command;
use crate::error::Error;
use crate::machine::Machine;
use crate::model;
use crate::progress::{Took, heading, say};
use crate::setup::{self, Wants};
use crate::workspace::{Profile, Workspace};

/// What the demo needs, in the order in which it is used.
const MODELS: [model::Model; 2] = [model::ENCODER, model::EDGES];

/// The image whose edges are drawn.
const IMAGE: &str = "assets/sample/still-life.jpg";

/// From a fresh machine to three answered questions about the sample PDF and the edges of the sample image.
pub(crate) fn run(workspace: &Workspace, no_install: bool) -> Result<(), Error> {
    // pip is asked for only once the hub proves out of reach.
    let wants = Wants { adapter: true, pip: false, images: false, browser: false };
    let mut machine = Machine::look();
    if no_install {
        setup::tell(&machine, wants);
        let names = MODELS.map(|model| model.name).join(" and ");
        say(format_args!(
            "the models {names} are looked for, and fetched where they are missing, after the build"
        ));
        return Ok(());
    }
    let questions = questions(&workspace.root.join("assets/sample/questions.json"))?;
    let start = Instant::now();
    heading("Set-up: what this machine needs");
    setup::ensure(&mut machine, wants)?;

    let kiln = workspace.kiln(Profile::Release);
    let first = if kiln.exists() { "" } else { " (some four minutes on two cores, the first time)" };
    heading(&format!("Build: kiln, in release{first}"));
    Command::cargo().args(["build", "--release", "--package", "kiln"]).dir(&workspace.root).run()?;

    heading("Adapter: what Kiln can compute on");
    let devices = setup::ensure_adapter(&mut machine, &kiln)?;
    devices.lines().filter(|line| !line.is_empty()).for_each(say);

    for model in &MODELS {
        heading(&format!("Model: {}", model.what));
        model::ensure(workspace, &mut machine, &kiln, model)?;
    }

    let sample = Path::new("assets/sample/convolutional-networks.pdf");
    heading(&format!(
        "Questions about {} (the first indexes it: some ten seconds in software)",
        sample.display()
    ));
    let asked = Instant::now();
    for question in &questions {
        println!("\n$ kiln ask {} \"{question}\"", sample.display());
        Command::new(&kiln).arg("ask").arg(sample).arg(question).dir(&workspace.root).run()?;
    }
    let answered = Took::since(asked);

    let (image, picture) = (Path::new(IMAGE), workspace.scratch("demo")?.join("edges.png"));
    let picture = picture.strip_prefix(&workspace.root).unwrap_or(&picture);
    heading(&format!("Edges of {} (a few seconds in software)", image.display()));
    println!("\n$ kiln edges {} -o {}", image.display(), picture.display());
    let drawn = Instant::now();
    Command::new(&kiln).arg("edges").arg(image).arg("-o").arg(picture).dir(&workspace.root).run()?;

    heading(&format!(
        "Done: {} questions answered in {answered}, edges drawn in {}, everything in {}",
        questions.len(),
        Took::since(drawn),
        Took::since(start)
    ));
    say(format_args!("ask your own: {} ask FILE.pdf \"a question\"", kiln.display()));
    say(format_args!(
        "look at {}, and draw your own: {} edges PHOTO -o OUT.png",
        picture.display(),
        kiln.display()
    ));
    Ok(())
}

/// The demo's questions: `[{"question": ...}, ...]`.
fn questions(path: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    parse(&text).map_err(|message| Error::Content { path: path.to_owned(), message })
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let entries = json.as_array().filter(|entries| !entries.is_empty());
    let entries = entries.ok_or("expected an array of questions that is not empty")?;
    let question = |entry: &Value| entry["question"].as_str().map(str::to_owned);
    entries.iter().map(|entry| question(entry).ok_or(format!("expected a \"question\" in {entry}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_in_order() {
        let text = r#"[{"question": "What is a kernel?", "page": 2}, {"question": "Why ReLU?"}]"#;
        assert_eq!(parse(text), Ok(vec!["What is a kernel?".to_owned(), "Why ReLU?".to_owned()]));
    }

    #[test]
    fn a_list_without_questions_is_refused() {
        for (text, part) in
            [("[]", "not empty"), ("{}", "array"), (r#"[{"page": 1}]"#, "\"question\""), ("[", "EOF")]
        {
            let message = parse(text).expect_err("it has no questions");
            assert!(message.contains(part), "{message}");
        }
    }
}
