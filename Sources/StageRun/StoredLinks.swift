// What the values of the store's tables lead to: the one place that knows all of them.

import StageEngine
import StageHash
import StageImage
import StageStore

struct StoredLinks: LinkReader {
    func links(of table: Table, _ value: [UInt8]) -> [Link]? {
        switch table {
        case .records: StepRecord.links(value)
        case .images: (try? StoredImage(encoded: value)).map(Self.links)
        case .builds: BuildEntry(value).map { [.list($0.record)] }
        default: []
        }
    }

    func links(inList bytes: [UInt8]) -> [Link]? {
        if bytes.starts(with: LayerRecipe.magic) {
            return LayerRecipe(encoded: bytes).map { recipe in recipe.contents.map { .content($0) } }
        }
        // What the steps of a build left is kept by their own records.
        return BuildRecord.links(bytes)
    }

    private static func links(of image: StoredImage) -> [Link] {
        var links: [Link] = [.content(image.id), .directory(image.tree.object)]
        for layer in image.layers {
            links.append(.directory(layer.tree.object))
            switch layer.source {
            case .derived(let from): if let from { links.append(.directory(from.object)) }
            case .recipe(let digest): links.append(.list(digest))
            }
        }
        return links
    }
}
