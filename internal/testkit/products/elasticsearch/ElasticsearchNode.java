import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** Runs one Elasticsearch node on a random loopback port. Its arguments are the home folder and settings, each
 * as name=value; it prints "READY host:port". */
public final class ElasticsearchNode {
    public static void main(String[] args) throws Exception {
        LogConfigurator.configureESLogging();
        Path home = Path.of(args[0]);
        Settings.Builder builder = Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "products")
            .put("node.name", "node")
            .put("node.portsfile", true)
            .put("network.host", "127.0.0.1")
            .put("http.port", "0")
            .put("transport.port", "0")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false);
        for (int i = 1; i < args.length; i++) {
            builder.put(args[i].substring(0, args[i].indexOf('=')), args[i].substring(args[i].indexOf('=') + 1));
        }
        if (builder.get("xpack.security.enabled") != null) {
            KeyStoreWrapper keys = KeyStoreWrapper.create();
            keys.setString("bootstrap.password", "password".toCharArray()); // of the user elastic
            builder.setSecureSettings(keys);
        }
        Settings settings = builder.build();
        Environment environment = new Environment(settings, home.resolve("config"));
        new Node(environment, PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(environment.modulesDir()),
            PluginsLoader.loadPluginsBundles(environment.pluginsDir()), Map.of(), false)).start();
        System.out.println("READY " + Files.readAllLines(home.resolve("logs/http.ports")).get(0));
        System.in.read(); // ends when the test process does
        Runtime.getRuntime().halt(0);
    }
}
