import java.io.File;
import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Hashtable;
import java.util.Map;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;

/**
 * Seals content in every way the tests list, or opens what they sealed.
 *
 * seal DIR: reads DIR/content and DIR/KIND.crt; each line of DIR/cases is a file name, a kind of
 * recipient and its parameters, and a content encryption.
 * open DIR: opens each DIR/KIND.NAME.cms with DIR/KIND.key and writes DIR/KIND.NAME.out.
 */
public final class BouncyCastle {
    private static final String BC = "BC";
    private static final Map<String, ASN1ObjectIdentifier> NAMES = new HashMap<>();

    static {
        for (java.lang.reflect.Field field : CMSAlgorithm.class.getFields()) {
            try {
                if (field.get(null) instanceof ASN1ObjectIdentifier oid) {
                    NAMES.put(field.getName(), oid);
                }
            } catch (IllegalAccessException unreadable) {
                throw new ExceptionInInitializerError(unreadable);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Path directory = Path.of(arguments[1]);
        if (arguments[0].equals("seal")) {
            for (String line : Files.readAllLines(directory.resolve("cases"))) {
                String[] words = line.split(" ");
                byte[] sealed = seal(directory, Arrays.copyOfRange(words, 1, words.length));
                Files.write(directory.resolve(words[0]), sealed);
            }
            return;
        }
        for (File file : directory.toFile().listFiles()) {
            if (file.getName().endsWith(".cms")) {
                String kind = file.getName().split("\\.")[0];
                byte[] raw = Files.readAllBytes(file.toPath());
                byte[] content = open(raw, privateKey(directory, kind));
                String name = file.getName().replace(".cms", ".out");
                Files.write(directory.resolve(name), content);
            }
        }
    }

    private static byte[] seal(Path directory, String[] words) throws Exception {
        String cipher = words[words.length - 1];
        JceCMSContentEncryptorBuilder builder =
            new JceCMSContentEncryptorBuilder(NAMES.get(cipher)).setProvider(BC);
        RecipientInfoGenerator recipient = recipient(directory, words);
        byte[] bytes = Files.readAllBytes(directory.resolve("content"));
        CMSTypedData content = new CMSProcessableByteArray(bytes);
        if (!cipher.endsWith("GCM") && !cipher.endsWith("CCM")) {
            CMSEnvelopedDataGenerator generator = new CMSEnvelopedDataGenerator();
            generator.addRecipientInfoGenerator(recipient);
            return generator.generate(content, builder.build()).getEncoded();
        }
        CMSAuthEnvelopedDataGenerator generator = new CMSAuthEnvelopedDataGenerator();
        generator.addRecipientInfoGenerator(recipient);
        if (words[words.length - 2].equals("attributes")) {
            ASN1ObjectIdentifier oid = new ASN1ObjectIdentifier("1.2.3.4");
            Hashtable<ASN1ObjectIdentifier, Attribute> table = new Hashtable<>();
            table.put(oid, new Attribute(oid, new DERSet(new ASN1Integer(5))));
            generator.setAuthenticatedAttributeGenerator(
                new SimpleAttributeTableGenerator(new AttributeTable(table)));
        }
        return generator.generate(content, (OutputAEADEncryptor) builder.build()).getEncoded();
    }

    private static RecipientInfoGenerator recipient(Path directory, String[] words)
            throws Exception {
        switch (words[0]) {
            case "rsa":
                return new JceKeyTransRecipientInfoGenerator(certificate(directory, "rsa"))
                    .setProvider(BC);
            case "oaep":
                return new JceKeyTransRecipientInfoGenerator(
                    certificate(directory, "rsa"), oaep(words[1], words[2], words[3]))
                    .setProvider(BC);
            case "shared":
                return new JceKEKRecipientInfoGenerator(
                    words[1].getBytes("UTF-8"), new SecretKeySpec(new byte[32], "AES"))
                    .setProvider(BC);
            case "password":
                JcePasswordRecipientInfoGenerator generator =
                    new JcePasswordRecipientInfoGenerator(
                        NAMES.get(words[2]), words[1].toCharArray());
                generator.setPasswordConversionScheme(PasswordRecipient.PKCS5_SCHEME2_UTF8);
                return generator.setProvider(BC);
            default:
                return agreement(certificate(directory, words[0]), words);
        }
    }

    private static RecipientInfoGenerator agreement(X509Certificate certificate, String[] words)
            throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", BC);
        PublicKey publicKey = certificate.getPublicKey();
        generator.initialize(((ECPublicKey) publicKey).getParams());
        KeyPair ephemeral = generator.generateKeyPair();
        JceKeyAgreeRecipientInfoGenerator recipient = new JceKeyAgreeRecipientInfoGenerator(
            NAMES.get(words[1]), ephemeral.getPrivate(), ephemeral.getPublic(),
            NAMES.get(words[2]));
        if (words[3].equals("ukm")) {
            recipient.setUserKeyingMaterial("user keying material".getBytes("UTF-8"));
        }
        return recipient.addRecipient(certificate).setProvider(BC);
    }

    private static AlgorithmIdentifier oaep(String hash, String maskHash, String label)
            throws Exception {
        PSource source = label.equals("-")
            ? PSource.PSpecified.DEFAULT : new PSource.PSpecified(label.getBytes("UTF-8"));
        OAEPParameterSpec parameters = new OAEPParameterSpec(
            hash, "MGF1", new MGF1ParameterSpec(maskHash), source);
        return new JcaAlgorithmParametersConverter()
            .getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP, parameters);
    }

    private static byte[] open(byte[] raw, PrivateKey key) throws Exception {
        boolean isRsa = key.getAlgorithm().equals("RSA");
        if (isAuthenticated(raw)) {
            RecipientInformation recipient =
                new CMSAuthEnvelopedData(raw).getRecipientInfos().iterator().next();
            // Version 1.72 has no class for key agreement in AuthEnvelopedData.
            return recipient.getContent(
                new JceKeyTransAuthEnvelopedRecipient(key).setProvider(BC));
        }
        RecipientInformation recipient =
            new CMSEnvelopedData(raw).getRecipientInfos().iterator().next();
        return recipient.getContent(isRsa
            ? new JceKeyTransEnvelopedRecipient(key).setProvider(BC)
            : new JceKeyAgreeEnvelopedRecipient(key).setProvider(BC));
    }

    private static boolean isAuthenticated(byte[] raw) throws Exception {
        return org.bouncycastle.asn1.cms.ContentInfo.getInstance(raw).getContentType()
            .equals(org.bouncycastle.asn1.cms.CMSObjectIdentifiers.authEnvelopedData);
    }

    private static X509Certificate certificate(Path directory, String kind) throws Exception {
        try (FileInputStream stream =
                new FileInputStream(directory.resolve(kind + ".crt").toFile())) {
            return (X509Certificate) CertificateFactory.getInstance("X.509", BC)
                .generateCertificate(stream);
        }
    }

    private static PrivateKey privateKey(Path directory, String kind) throws Exception {
        byte[] encoded = Files.readAllBytes(directory.resolve(kind + ".key"));
        KeyFactory factory = KeyFactory.getInstance(kind.equals("rsa") ? "RSA" : "EC", BC);
        return factory.generatePrivate(new PKCS8EncodedKeySpec(encoded));
    }
}
