// The library that TensorRT loads: every fused op as a plugin, from data. For TensorRT 10.0 to 10.8 (JetPack 6), which has
// no plugins in Python that run a given PTX. EDGESMITH_KERNELS names the folder of plugins.txt and its PTX files.
//
// docs/hardware.md says what has run where. tests/native drives it as TensorRT would, with a driver that writes down what is launched.

#include "plugin.hpp"

#include <cstdlib>
#include <cstring>

namespace edgesmith {
namespace {

using namespace nvinfer1;

// The number that stands for an attribute in expressions. A parser may give 32 or 64 bits.
std::int32_t valueOf(Attribute const& attribute, PluginField const& field) {
    auto const wrong = [&](char const* why) { fail("attribute " + attribute.name + " " + why); };
    auto const read = [&](auto& into) { std::memcpy(&into, field.data, sizeof into); };
    if (field.data == nullptr || field.length != 1) wrong("is not one number");
    std::int32_t bits = 0;
    if (field.type == (attribute.isFloat ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32)) {
        read(bits);
    } else if (attribute.isFloat && field.type == PluginFieldType::kFLOAT64) {
        double wide = 0;
        read(wide);
        auto const value = static_cast<float>(wide);
        std::memcpy(&bits, &value, sizeof bits);
    } else if (!attribute.isFloat && field.type == PluginFieldType::kINT64) {
        std::int64_t wide = 0;
        read(wide);
        bits = static_cast<std::int32_t>(wide);
        if (bits != wide) wrong("does not fit 32 bits");
    } else {
        wrong(attribute.isFloat ? "is no float" : "is no int");
    }
    return bits;
}

class Creator final : public IPluginCreatorV3One {
public:
    explicit Creator(OpTable const& op) : op_(op) {
        for (Attribute const& attribute : op.attributes)
            fields_.emplace_back(attribute.name.c_str(), nullptr,
                attribute.isFloat ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32, 1);
        collection_ = {static_cast<std::int32_t>(fields_.size()), fields_.data()};
    }

    char const* getPluginName() const noexcept override { return op_.name.c_str(); }
    char const* getPluginVersion() const noexcept override { return kVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }
    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }

    // From the attributes of a node, or from what getFieldsToSerialize gave when the engine was built.
    IPluginV3* createPlugin(char const*, PluginFieldCollection const* fc, TensorRTPhase phase) noexcept override {
        return guarded(op_.name, static_cast<IPluginV3*>(nullptr), [&] {
            bool sameKernels = phase == TensorRTPhase::kBUILD;
            std::vector<std::optional<std::int32_t>> found(op_.attributes.size());
            for (std::int32_t i = 0; fc != nullptr && i < fc->nbFields; ++i) {
                PluginField const& field = fc->fields[i];
                if (phase == TensorRTPhase::kRUNTIME && std::strcmp(field.name, kHashField) == 0) {
                    auto const length = static_cast<std::size_t>(std::max(field.length, 0));
                    sameKernels = op_.hash == std::string_view(static_cast<char const*>(field.data), length);
                    continue;
                }
                auto const at = std::find_if(op_.attributes.begin(), op_.attributes.end(),
                    [&](Attribute const& attribute) { return attribute.name == field.name; });
                if (at == op_.attributes.end()) fail(std::string("has no attribute ") + field.name);
                found[static_cast<std::size_t>(at - op_.attributes.begin())] = valueOf(*at, field);
            }
            if (!sameKernels) fail("the engine was built with other kernels than these; build it again");
            std::vector<std::int32_t> values;
            for (std::size_t i = 0; i < found.size(); ++i) {
                auto const value = found[i] ? found[i] : op_.attributes[i].fallback;
                if (!value) fail("needs the attribute " + op_.attributes[i].name);
                values.push_back(*value);
            }
            return std::make_unique<Plugin>(Node(op_, std::move(values))).release();
        });
    }

private:
    OpTable const& op_;
    std::vector<PluginField> fields_;
    PluginFieldCollection collection_{};
};

// The kernels of one folder. Ops and creators stay where they are: plugins and TensorRT point at them.
struct Loaded {
    std::vector<OpTable> ops;
    std::vector<std::unique_ptr<Creator>> creators;
    std::vector<IPluginCreatorInterface*> list;

    explicit Loaded(std::vector<OpTable> read) : ops(std::move(read)) {
        for (OpTable const& op : ops) {
            creators.push_back(std::make_unique<Creator>(op));
            list.push_back(creators.back().get());
        }
    }
};

Loaded const& load() {
    // never destroyed: TensorRT may delete plugins after the static objects of this library are gone
    static std::mutex& mutex = *new std::mutex;
    static auto& all = *new std::map<std::string, std::unique_ptr<Loaded>>;
    char const* const folder = std::getenv("EDGESMITH_KERNELS");
    if (folder == nullptr || *folder == '\0')
        fail("the environment variable EDGESMITH_KERNELS names no folder; unpack kernels.zip of the bundle and set it");
    std::string const text = readFile(std::string(folder) + "/plugins.txt");
    std::lock_guard<std::mutex> const lock(mutex);
    auto& loaded = all[text];  // the text names every kernel by its hash, so the same text means the same kernels
    if (loaded == nullptr) loaded = std::make_unique<Loaded>(readTable(text, folder));
    return *loaded;
}

}  // namespace
}  // namespace edgesmith

// The two functions that IPluginRegistry::loadLibrary looks for.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
    edgesmith::loggerFinder = finder;
}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(
    std::int32_t& nbCreators) {
    static nvinfer1::IPluginCreatorInterface* const none = nullptr;
    nbCreators = 0;
    return edgesmith::guarded("loading plugins", &none, [&] {
        auto const& loaded = edgesmith::load();
        nbCreators = static_cast<std::int32_t>(loaded.list.size());
        return loaded.list.data();
    });
}
