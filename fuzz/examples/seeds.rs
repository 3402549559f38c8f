//! Writes a starting corpus for every target: the seeds of its body, and its regressions as bytes.

use std::{fs, io, path::Path};

use nvmf_conformance::fuzzing::{TARGETS, unhex};

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in TARGETS {
        let corpus = here.join("corpus").join(target.name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number:02}")), seed)?;
        }
        let Ok(regressions) =
            fs::read_dir(here.join("../conformance/src/fuzzing/regressions").join(target.name))
        else {
            continue;
        };
        for entry in regressions {
            let path = entry?.path();
            if let Some(name) = path.file_stem() {
                fs::write(corpus.join(name), unhex(&fs::read_to_string(&path)?))?;
            }
        }
        println!("{}: {} files", target.name, fs::read_dir(&corpus)?.count());
    }
    Ok(())
}
