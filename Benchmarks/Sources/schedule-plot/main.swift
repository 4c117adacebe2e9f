// What the order of the schedule is worth: simulated makespans over the lower bound, for 2 to 256 cores.
//
//   schedule-plot GRAPHS SVG
//
// GRAPHS is a directory of recorded graphs, a step a line: its seconds and the steps it takes in. Prints a JSON object a graph
// and order, and writes the plot.

import Foundation
import StageEngine

struct Graph {
    var name: String
    var simulation: ScheduleSimulation
    var isRecorded: Bool

    init(name: String, text: String) {
        self.name = name
        isRecorded = true
        let rows = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
        simulation = ScheduleSimulation(
            inputs: rows.map { $0.dropFirst().compactMap { Int($0) } },
            durations: rows.map { $0.first.flatMap { Double($0) } ?? 0 })
    }

    /// Layers of stages, each on a few of the layer before, with durations that lie far apart, as those of builds do.
    init(generated name: String, steps: Int, width: Int, seed: UInt64) {
        self.name = name
        isRecorded = false
        var state = seed
        func random() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(state >> 11) / Double(1 << 53)
        }
        var inputs: [[Int]] = []
        var durations: [Double] = []
        for step in 0..<steps {
            let count = step < width ? 0 : 1 + Int(random() * 3)
            inputs.append(
                Set((0..<count).map { _ in step - 1 - Int(random() * Double(min(step, 2 * width))) }).sorted())
            durations.append(0.05 * pow(400, random()))
        }
        simulation = ScheduleSimulation(inputs: inputs, durations: durations)
    }
}

let arguments = CommandLine.arguments
guard arguments.count == 3 else {
    print("usage: schedule-plot GRAPHS SVG")
    exit(2)
}
let names = try FileManager.default.contentsOfDirectory(atPath: arguments[1]).filter { $0.hasSuffix(".graph") }.sorted()
var graphs = try names.map { name in
    Graph(name: String(name.dropLast(6)), text: try String(contentsOfFile: arguments[1] + "/" + name, encoding: .utf8))
}
graphs.append(Graph(generated: "generated, 300 steps, narrow", steps: 300, width: 8, seed: 1))
graphs.append(Graph(generated: "generated, 2,000 steps, wide", steps: 2000, width: 200, seed: 2))

let cores = [2, 4, 8, 16, 32, 64, 128, 256]
typealias Order = ScheduleSimulation.Order
var lines: [Order: [Double]] = [:]
for graph in graphs {
    for order in Order.allCases {
        let ratios = cores.map {
            graph.simulation.makespan(cores: $0, order: order) / graph.simulation.lowerBound(cores: $0)
        }
        // The worst graph at each number of cores.
        lines[order] = zip(lines[order] ?? ratios, ratios).map(max)
        let texts = zip(cores, ratios).map { "\"\($0) cores\":\(String(format: "%.3f", $1))" }.joined(separator: ",")
        print("{\"benchmark\":\"schedule: \(graph.name)\",\"order\":\"\(order.rawValue)\",\(texts)}")
    }
}

let (width, height, left, top, right, bottom) = (720.0, 400.0, 60.0, 40.0, 20.0, 50.0)
let highest = max(2, (lines.values.flatMap { $0 }.max() ?? 2) * 1.05)
func x(_ index: Int) -> Double { left + (width - left - right) * Double(index) / Double(cores.count - 1) }
func y(_ ratio: Double) -> Double { height - bottom - (height - top - bottom) * (ratio - 1) / (highest - 1) }
func number(_ value: Double) -> String { String(format: "%.1f", value) }
var svg = """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Int(width)) \(Int(height))" font-family="sans-serif" font-size="12">
    <rect width="100%" height="100%" fill="white"/>
    <text x="\(number(left))" y="20" font-size="14">Makespan over the lower bound, the worst of \(graphs.count) graphs</text>

    """
var mark = 1.0
while mark <= highest {
    svg +=
        "<line x1=\"\(number(left))\" x2=\"\(number(width - right))\" y1=\"\(number(y(mark)))\" y2=\"\(number(y(mark)))\" stroke=\"#ddd\"/>"
    svg +=
        "<text x=\"\(number(left - 8))\" y=\"\(number(y(mark) + 4))\" text-anchor=\"end\">\(String(format: "%.2g", mark))</text>\n"
    mark += highest > 3 ? 0.5 : 0.25
}
for (index, count) in cores.enumerated() {
    svg +=
        "<text x=\"\(number(x(index)))\" y=\"\(number(height - bottom + 18))\" text-anchor=\"middle\">\(count)</text>\n"
}
svg += "<text x=\"\(number(width / 2))\" y=\"\(number(height - 10))\" text-anchor=\"middle\">cores</text>\n"
let colours: [Order: String] = [.longestPath: "#0a7d32", .firstCome: "#c26a00", .waves: "#b00020"]
for (place, order) in Order.allCases.enumerated() {
    let points = (lines[order] ?? []).enumerated().map { "\(number(x($0))),\(number(y($1)))" }.joined(separator: " ")
    let colour = colours[order] ?? "black"
    svg += "<polyline points=\"\(points)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"/>\n"
    let row = top + 8 + 18 * Double(place)
    svg +=
        "<text x=\"\(number(width - right - 10))\" y=\"\(number(row))\" text-anchor=\"end\" fill=\"\(colour)\">\(order.rawValue)</text>\n"
}
svg += "</svg>\n"
try svg.write(toFile: arguments[2], atomically: true, encoding: .utf8)
