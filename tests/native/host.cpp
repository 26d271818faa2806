// Plays TensorRT for runtime/plugins/native: loads the plugin library, asks every question in TensorRT's order and prints the
// answers, one line of JSON a question, for test_native_plugin.py to judge. It is told what to do on standard input:
//
//     library FILE                 load it, give it a logger
//     folder PATH | folder         set or clear EDGESMITH_KERNELS
//     creators                     > what getCreators gives
//     node OP                      begin a node
//     attribute NAME KIND VALUE    KIND int, int64, float or float64
//     input TYPE SIZE...           the next input
//     offset BYTES                 shift the address of every tensor
//     output SIZE...               what enqueue is told of the next output; otherwise what the plugin said
//     later PATH                   the kernel folder when the engine is read again
//     run                          > build, tactics, launches, then from the serialised fields the same again
//     threads COUNT REPEATS        > launches of COUNT threads in two CUDA contexts

#include <NvInferRuntime.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace nvinfer1;

namespace {

std::map<std::string, DataType> const kTypes{{"float32", DataType::kFLOAT}, {"float16", DataType::kHALF},
    {"bfloat16", DataType::kBF16}, {"int32", DataType::kINT32}, {"int8", DataType::kINT8}, {"int64", DataType::kINT64},
    {"uint8", DataType::kUINT8}, {"bool", DataType::kBOOL}, {"fp8", DataType::kFP8}, {"int4", DataType::kINT4}};
constexpr std::uintptr_t kFirstAddress = 0x10000, kAddressStep = 0x1000, kStream = 77;

std::string nameOf(DataType type) {
    for (auto const& [name, known] : kTypes)
        if (known == type) return name;
    return "?";
}

// ---- JSON
std::string quoted(std::string const& text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return result + "\"";
}

template <class Items, class Format>
std::string list(Items const& items, Format&& format) {
    std::string result;
    for (auto const& item : items) result += (result.empty() ? "" : ", ") + format(item);
    return "[" + result + "]";
}

std::string number(std::int64_t value) { return std::to_string(value); }

// ---- what TensorRT gives a plugin
class Logger : public ILogger {
public:
    void log(Severity severity, AsciiChar const* message) noexcept override {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (severity == Severity::kERROR) lines_.push_back(message);
    }
    std::vector<std::string> take() {
        std::lock_guard<std::mutex> const lock(mutex_);
        return std::exchange(lines_, {});
    }

private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

Logger logger;

class Finder : public ILoggerFinder {
public:
    ILogger* findLogger() override { return &logger; }
};

Finder finder;

// A symbolic size keeps how it was made; what it is worth is asked when the sizes of the inputs are known.
class Symbol : public IDimensionExpr {
public:
    explicit Symbol(std::function<std::int64_t()> value) : value_(std::move(value)) {}
    bool isConstant() const noexcept override { return false; }
    std::int64_t getConstantValue() const noexcept override { return INT64_MIN; }
    std::int64_t value() const { return value_(); }

private:
    std::function<std::int64_t()> value_;
};

class Builder : public IExprBuilder {
public:
    IDimensionExpr const* add(std::function<std::int64_t()> value) { return &symbols_.emplace_back(std::move(value)); }
    IDimensionExpr const* constant(std::int64_t value) noexcept override {
        return add([=] { return value; });
    }
    IDimensionExpr const* operation(
        DimensionOperation op, IDimensionExpr const& first, IDimensionExpr const& second) noexcept override {
        auto const* const left = static_cast<Symbol const*>(&first);
        auto const* const right = static_cast<Symbol const*>(&second);
        return add([=]() -> std::int64_t {
            std::int64_t const a = left->value(), b = right->value();
            switch (op) {
            case DimensionOperation::kSUM: return a + b;
            case DimensionOperation::kPROD: return a * b;
            case DimensionOperation::kMAX: return std::max(a, b);
            case DimensionOperation::kMIN: return std::min(a, b);
            case DimensionOperation::kSUB: return a - b;
            case DimensionOperation::kEQUAL: return a == b;
            case DimensionOperation::kLESS: return a < b;
            case DimensionOperation::kFLOOR_DIV: return a / b;  // sizes are not negative
            case DimensionOperation::kCEIL_DIV: return (a + b - 1) / b;
            }
            throw std::logic_error("no such operation");
        });
    }

private:
    std::deque<Symbol> symbols_;  // addresses stay
};

// ---- what is told on standard input
struct Field {
    std::string name;
    PluginFieldType type;
    std::vector<char> data;
    std::int32_t length;
};

struct Case {
    std::string op;
    std::vector<Field> attributes;
    std::vector<PluginTensorDesc> inputs;
    std::vector<Dims> outputs;
    std::uintptr_t offset = 0;
    std::string later;
};

template <class Value>
Field field(std::string const& name, PluginFieldType type, Value value) {
    Field made{name, type, std::vector<char>(sizeof value), 1};
    std::memcpy(made.data.data(), &value, sizeof value);
    return made;
}

Dims dims(std::istream& words) {
    Dims made{};
    for (std::int64_t size = 0; made.nbDims < Dims::MAX_DIMS && words >> size;) made.d[made.nbDims++] = size;
    return made;
}

struct Failed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void wants(bool ok, std::string const& stage) {
    if (!ok) throw Failed(stage);
}

class Host {
public:
    std::string run(Case const& asked) {
        std::string result;
        std::vector<Field> serialised;
        {
            auto const plugin = create(asked.op, asked.attributes, TensorRTPhase::kBUILD);
            result = build(asked, *plugin);
            auto const inContext = attached(*plugin);
            result += ", \"built\": " + launches(asked, *plugin, *inContext);
            serialised = fieldsOf(*inContext);
        }
        if (!asked.later.empty()) setenv("EDGESMITH_KERNELS", asked.later.c_str(), 1);
        auto const plugin = create(asked.op, serialised, TensorRTPhase::kRUNTIME);
        auto const inContext = attached(*plugin);
        return result + ", \"read\": " + launches(asked, *plugin, *inContext) + ", \"serialised\": " +
               list(serialised, [](Field const& one) { return quoted(one.name); });
    }

    std::string threads(Case const& asked, int count, int repeats) {
        auto const plugin = create(asked.op, asked.attributes, TensorRTPhase::kBUILD);
        build(asked, *plugin);
        int before[2], after[2];
        take(before);
        std::vector<std::unique_ptr<IPluginV3>> clones;
        for (int i = 0; i < count; ++i) clones.push_back(attached(*plugin));
        std::vector<int> failures(static_cast<std::size_t>(count));
        std::vector<std::thread> running;
        for (std::size_t i = 0; i < clones.size(); ++i)
            running.emplace_back([&, i] {
                setContext(0x1000 + i % 2);
                for (int again = 0; again < repeats; ++again) failures[i] += enqueue(asked, *clones[i]) != 0;
            });
        for (auto& thread : running) thread.join();
        take(after);
        return "\"launches\": " + number(after[0] - before[0]) + ", \"loads\": " + number(after[1] - before[1]) +
               ", \"failures\": " + list(failures, number);
    }

    std::string creators() {
        std::int32_t count = -1;
        auto const* const all = getCreators_(count);
        return "\"creators\": " + list(std::vector<IPluginCreatorInterface*>(all, all + count), [](auto* one) {
            auto* const creator = dynamic_cast<IPluginCreatorV3One*>(one);
            PluginFieldCollection const* const names = creator->getFieldNames();
            std::vector<PluginField> const fields(names->fields, names->fields + names->nbFields);
            return "{\"name\": " + quoted(creator->getPluginName()) + ", \"version\": " + quoted(creator->getPluginVersion()) +
                   ", \"namespace\": " + quoted(creator->getPluginNamespace()) + ", \"fields\": " +
                   list(fields, [](PluginField const& f) { return "[" + quoted(f.name) + ", " + number(int(f.type)) + "]"; }) + "}";
        });
    }

    void library(std::string const& file) {
        void* const opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (opened == nullptr) throw std::runtime_error(dlerror());
        getCreators_ = reinterpret_cast<decltype(getCreators_)>(dlsym(opened, "getCreators"));
        reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(opened, "setLoggerFinder"))(&finder);
        if (void* const driver = dlopen("libcuda.so.1", RTLD_NOW); driver != nullptr) {
            take_ = reinterpret_cast<decltype(take_)>(dlsym(driver, "fake_cuda_take"));
            setContext_ = reinterpret_cast<decltype(setContext_)>(dlsym(driver, "fake_cuda_set_context"));
        }
    }

private:
    template <class Capability>
    static Capability& as(IPluginV3& plugin, PluginCapabilityType type) {
        return *static_cast<Capability*>(plugin.getCapabilityInterface(type));
    }
    static IPluginV3OneRuntime& runtime(IPluginV3& plugin) {
        return as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
    }

    std::unique_ptr<IPluginV3> create(std::string const& op, std::vector<Field> const& given, TensorRTPhase phase) {
        std::int32_t count = 0;
        auto const* const all = getCreators_(count);
        for (std::int32_t i = 0; i < count; ++i) {
            auto* const creator = dynamic_cast<IPluginCreatorV3One*>(all[i]);
            if (creator->getPluginName() != op) continue;
            std::vector<PluginField> fields;
            for (Field const& one : given) fields.emplace_back(one.name.c_str(), one.data.data(), one.type, one.length);
            PluginFieldCollection const collection{static_cast<std::int32_t>(fields.size()), fields.data()};
            std::unique_ptr<IPluginV3> plugin(creator->createPlugin("node", &collection, phase));
            wants(plugin != nullptr, phase == TensorRTPhase::kBUILD ? "create" : "read");
            auto& core = as<IPluginV3OneCore>(*plugin, PluginCapabilityType::kCORE);
            wants(core.getPluginName() == op && !std::strcmp(core.getPluginNamespace(), creator->getPluginNamespace()) &&
                      !std::strcmp(core.getPluginVersion(), creator->getPluginVersion()),
                "names");
            return plugin;
        }
        throw Failed("find the creator");
    }

    static std::unique_ptr<IPluginV3> attached(IPluginV3& plugin) {
        std::unique_ptr<IPluginV3> made(runtime(plugin).attachToContext(nullptr));
        wants(made != nullptr, "attach");
        return made;
    }

    // Types, shapes, formats and tactics.
    std::string build(Case const& asked, IPluginV3& plugin) {
        auto& builder = as<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
        auto const inputs = static_cast<std::int32_t>(asked.inputs.size()), outputs = builder.getNbOutputs();
        std::vector<DataType> inputTypes, outputTypes(static_cast<std::size_t>(outputs));
        for (auto const& input : asked.inputs) inputTypes.push_back(input.type);
        wants(builder.getOutputDataTypes(outputTypes.data(), outputs, inputTypes.data(), inputs) == 0, "types");

        Builder symbols;
        std::vector<DimsExprs> symbolic, outputShapes(outputTypes.size());
        for (auto const& input : asked.inputs) {
            DimsExprs sizes{input.dims.nbDims, {}};
            for (int axis = 0; axis < sizes.nbDims; ++axis) sizes.d[axis] = symbols.add([&input, axis] { return input.dims.d[axis]; });
            symbolic.push_back(sizes);
        }
        wants(builder.getOutputShapes(symbolic.data(), inputs, nullptr, 0, outputShapes.data(), outputs, symbols) == 0, "shapes");
        outputs_.clear();
        for (std::size_t i = 0; i < outputShapes.size(); ++i) {
            PluginTensorDesc made{{outputShapes[i].nbDims, {}}, outputTypes[i], TensorFormat::kLINEAR, 1};
            for (int axis = 0; axis < made.dims.nbDims; ++axis)
                made.dims.d[axis] = static_cast<Symbol const*>(outputShapes[i].d[axis])->value();
            outputs_.push_back(made);
        }

        std::vector<DynamicPluginTensorDesc> all(asked.inputs.size() + outputTypes.size());
        std::vector<std::string> supported;
        formats(builder, all, 0, inputs, outputs, supported);
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i].desc = i < asked.inputs.size() ? asked.inputs[i] : outputs_[i - asked.inputs.size()];
            all[i].min = all[i].opt = all[i].max = all[i].desc.dims;
            all[i].desc.dims.d[0] = -1;  // an open batch
        }
        wants(builder.configurePlugin(all.data(), inputs, all.data() + inputs, outputs) == 0, "configure");
        tactics_.assign(static_cast<std::size_t>(builder.getNbTactics()), 0);
        wants(builder.getValidTactics(tactics_.data(), builder.getNbTactics()) == 0, "tactics");
        auto const sizes = [](PluginTensorDesc const& one) {
            return list(std::vector<std::int64_t>(one.dims.d, one.dims.d + one.dims.nbDims), number);
        };
        return "\"types\": " + list(outputTypes, [](DataType type) { return quoted(nameOf(type)); }) +
               ", \"shapes\": " + list(outputs_, sizes) + ", \"formats\": " + list(supported, [](auto& text) { return text; }) +
               ", \"tactics\": " + list(tactics_, number) + ", \"about\": " + quoted(builder.getTimingCacheID()) +
               ", \"same_about\": " + number(!std::strcmp(builder.getTimingCacheID(), builder.getMetadataString()));
    }

    // Every combination of types and formats that the plugin accepts, found as TensorRT does: tensor by tensor.
    void formats(IPluginV3OneBuild& builder, std::vector<DynamicPluginTensorDesc>& all, std::size_t at, std::int32_t inputs,
        std::int32_t outputs, std::vector<std::string>& supported) {
        if (at == all.size()) {
            supported.push_back(list(all, [](auto const& one) {
                return quoted(nameOf(one.desc.type) + (one.desc.format == TensorFormat::kLINEAR ? "" : " not linear"));
            }));
            return;
        }
        for (auto const& [name, type] : kTypes)
            for (int format = 0; format <= static_cast<int>(TensorFormat::kDHWC); ++format) {
                all[at].desc.type = type;
                all[at].desc.format = static_cast<TensorFormat>(format);
                if (builder.supportsFormatCombination(static_cast<std::int32_t>(at), all.data(), inputs, outputs))
                    formats(builder, all, at + 1, inputs, outputs, supported);
            }
    }

    int enqueue(Case const& asked, IPluginV3& plugin) {
        std::vector<PluginTensorDesc> outputs = outputs_;
        for (std::size_t i = 0; i < asked.outputs.size(); ++i) outputs.at(i).dims = asked.outputs[i];
        std::vector<void const*> from;
        std::vector<void*> to;
        std::uintptr_t address = kFirstAddress + asked.offset;
        for (std::size_t i = 0; i < asked.inputs.size(); ++i, address += kAddressStep) from.push_back(reinterpret_cast<void*>(address));
        for (std::size_t i = 0; i < outputs.size(); ++i, address += kAddressStep) to.push_back(reinterpret_cast<void*>(address));
        return runtime(plugin).enqueue(asked.inputs.data(), outputs.data(), from.data(), to.data(), nullptr,
            reinterpret_cast<cudaStream_t>(kStream));
    }

    // The default tactic and each of the others, on the plugin and, after it changed, on the copy that an execution has.
    std::string launches(Case const& asked, IPluginV3& plugin, IPluginV3& inContext) {
        auto const inputs = static_cast<std::int32_t>(asked.inputs.size()), outputs = static_cast<std::int32_t>(outputs_.size());
        std::vector<std::string> result;
        std::vector<std::int32_t> all{0};
        all.insert(all.end(), tactics_.begin(), tactics_.end());
        for (std::int32_t const tactic : all) {
            wants(runtime(plugin).setTactic(tactic) == 0 && runtime(inContext).setTactic(tactic) == 0, "set the tactic");
            wants(runtime(inContext).onShapeChange(asked.inputs.data(), inputs, outputs_.data(), outputs) == 0, "change the shape");
            wants(enqueue(asked, inContext) == 0, "enqueue");
            std::unique_ptr<IPluginV3> const copy(inContext.clone());
            wants(enqueue(asked, *copy) == 0, "enqueue the clone");
            int counts[2] = {0, 0};
            result.push_back("[" + take(counts) + "]");
        }
        return list(result, [](auto& text) { return text; });
    }

    // As an engine file keeps them: bytes, no pointers.
    static std::vector<Field> fieldsOf(IPluginV3& plugin) {
        PluginFieldCollection const* const all = runtime(plugin).getFieldsToSerialize();
        wants(all != nullptr, "serialise");
        std::vector<Field> kept;
        for (std::int32_t i = 0; i < all->nbFields; ++i) {
            PluginField const& one = all->fields[i];
            auto const* const bytes = static_cast<char const*>(one.data);
            int const width = one.type == PluginFieldType::kCHAR ? 1 : 4;
            kept.push_back({one.name, one.type, std::vector<char>(bytes, bytes + one.length * width), one.length});
        }
        return kept;
    }

    std::string take(int counts[2]) const { return take_ == nullptr ? "" : take_(counts); }
    void setContext(std::uintptr_t number) const {
        if (setContext_ != nullptr) setContext_(number);
    }

    IPluginCreatorInterface* const* (*getCreators_)(std::int32_t&) = nullptr;
    char const* (*take_)(int*) = nullptr;
    void (*setContext_)(std::uintptr_t) = nullptr;
    std::vector<PluginTensorDesc> outputs_;
    std::vector<std::int32_t> tactics_;
};

}  // namespace

int main() {
    Host host;
    Case asked;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string word, name, kind;
        words >> word;
        auto const answer = [&](auto&& what) {
            std::string text;
            try {
                text = what();
            } catch (Failed const& failed) {
                text = "\"failed\": " + quoted(failed.what());
            }
            std::cout << "{" << text << ", \"log\": " << list(logger.take(), quoted) << "}" << std::endl;
        };
        if (word == "library" && words >> name) host.library(name);
        else if (word == "folder" && words >> name) setenv("EDGESMITH_KERNELS", name.c_str(), 1);
        else if (word == "folder") unsetenv("EDGESMITH_KERNELS");
        else if (word == "creators") answer([&] { return host.creators(); });
        else if (word == "node" && words >> name) asked = Case{name, {}, {}, {}, 0, {}};
        else if (word == "attribute" && words >> name >> kind) {
            double value = 0;
            std::int64_t whole = 0;
            if (kind[0] == 'i') words >> whole;
            else words >> value;
            if (kind == "int") asked.attributes.push_back(field(name, PluginFieldType::kINT32, static_cast<std::int32_t>(whole)));
            else if (kind == "int64") asked.attributes.push_back(field(name, PluginFieldType::kINT64, whole));
            else if (kind == "float") asked.attributes.push_back(field(name, PluginFieldType::kFLOAT32, static_cast<float>(value)));
            else asked.attributes.push_back(field(name, PluginFieldType::kFLOAT64, value));
        } else if (word == "input" && words >> kind) asked.inputs.push_back({dims(words), kTypes.at(kind), TensorFormat::kLINEAR, 1});
        else if (word == "offset") words >> asked.offset;
        else if (word == "output") asked.outputs.push_back(dims(words));
        else if (word == "later") words >> asked.later;
        else if (word == "run") answer([&] { return host.run(asked); });
        else if (word == "threads") {
            int count = 0, repeats = 0;
            words >> count >> repeats;
            answer([&] { return host.threads(asked, count, repeats); });
        } else {
            std::cerr << "not understood: " << line << std::endl;
            return 2;
        }
    }
    return 0;
}
