// Parses, checks and lowers Dockerfiles of 1,000 and of 100,000 lines, by turns, and prints one JSON object: medians in
// milliseconds, and how much longer a line takes in the long one.

import StageDockerfile
import StageGraph

/// `lines` lines of what Dockerfiles are made of: variables, commands with continuations, copies, labels.
func ordinary(_ lines: Int) -> [UInt8] {
    var text = "FROM base AS first\nENV VAR_1=a VAR_2=b VAR_3=c\n"
    var count = 2
    var index = 0
    while count < lines {
        text += "ENV VAR_\(index % 50 + 4)=value\nRUN echo $VAR_1 && make target \\\n  && echo \"$VAR_2\"\n"
        text += "COPY --chown=1:1 file\(index) dir/$VAR_3/\nLABEL l\(index)=x\n"
        count += 5
        index += 1
    }
    return Array(text.utf8)
}

func milliseconds(_ bytes: [UInt8]) throws -> Double {
    let clock = ContinuousClock()
    let images = ["base": BaseImage(settings: ImageSettings(), platform: .host)]
    let time = try clock.measure {
        let file = try Dockerfile.parse(bytes, file: "Dockerfile")
        guard
            case .graph(let graph, let warnings) = try Lowering(file, options: LoweringOptions()).lower(images: images),
            graph.steps.count > bytes.count / 100, warnings.isEmpty
        else { fatalError("the file is not what it should be") }
    }
    return time / .milliseconds(1)
}

let (short, long) = (ordinary(1_000), ordinary(100_000))
var times: (short: [Double], long: [Double]) = ([], [])
for round in 0..<9 {
    // The long one has a hundred short ones beside it, so that both meet the same machine.
    for _ in 0..<10 { times.short.append(try milliseconds(short)) }
    if round < 5 { times.long.append(try milliseconds(long)) }
}
let medians = (times.short.sorted()[times.short.count / 2], times.long.sorted()[times.long.count / 2])
let ratio = medians.1 / medians.0 / 100
print(#"{"short_ms":\#(medians.0),"long_ms":\#(medians.1),"line_ratio":\#(ratio)}"#)
